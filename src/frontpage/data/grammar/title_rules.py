"""The embedded corpus: rules for Hacker-News-style titles, written for this project with invented names.

What a model has to learn besides spelling: a topic fixes the nouns, verbs, tools and product names of a title; "is"
and "are" agree with their subject; a library belongs to its language; a funding round bounds its amount.
Each title has exactly one derivation: a noun belongs to one topic, and each template of a topic names one of its words.
"""

import functools
import re
from collections.abc import Iterable

from frontpage.data.grammar.grammar import Grammar

# A topic: tools | endings of its product names | things | matters | verbs (irregular ones in all forms).
TOPICS = {
    "learning": """PyTorch, TensorFlow, JAX, Keras, XGBoost, spaCy, OpenCV, Whisper | GPT, Net, Mind, Learn |
        chatbot, tokenizer, transformer, classifier, neural network, language model, decision tree, agent, embedding,
        upscaler, recommender, spam filter, perceptron, autoencoder, deepfake, summarizer, voice clone |
        gradient descent, overfitting, backpropagation, transfer learning, attention, data labeling, alignment |
        train, test, fine-tune, trust, fool, compress""",
    "web": """React, Svelte, Firefox, WordPress, Tailwind, Vue, Chromium, Mastodon | Page, Site, Kit, Feed |
        dashboard, newsletter, landing page, browser, blog, wiki, web scraper, date picker, cookie banner, RSS reader,
        web font, forum, homepage, bookmark, carousel, emoji, style sheet |
        accessibility, lazy loading, typography, hot reloading, dark mode, usability, infinite scrolling |
        design, ship/shipping/shipped, host, delete, redesign, prototype""",
    "systems": """Linux, Kubernetes, Docker, FreeBSD, systemd, Terraform, ZFS, eBPF, nginx | OS, Stack, Cloud, Node |
        kernel, container, cron job, scheduler, shell script, message queue, load balancer, driver, microservice,
        daemon, hypervisor, thread pool, bootloader, mail server, proxy, filesystem, terminal |
        observability, uptime, capacity planning, packet loss, technical debt, virtual memory, backpressure |
        deploy, restart, automate, monitor, kill, rewrite/rewriting/rewrote""",
    "database": """PostgreSQL, SQLite, Redis, MySQL, DuckDB, Cassandra, MongoDB | DB, Base, Query, Table |
        index, table, cache, schema, query, trigger, cursor, backup, replica, ledger, spreadsheet, join, B-tree, view,
        shard, snapshot, transaction |
        sharding, replication, full-text search, consistency, latency, data modeling, concurrency, durability |
        tune, scale, migrate, merge, benchmark, drop/dropping/dropped""",
    "security": """OpenSSL, WireGuard, Signal, Tor, GnuPG, Wireshark, OpenSSH, KeePass | Lock, Guard, Vault, Shield |
        password, firewall, honeypot, botnet, rootkit, VPN, passkey, exploit, fuzzer, ad blocker, keylogger, sandbox,
        worm, certificate, login form, smart lock, hash function |
        encryption, single sign-on, code signing, social engineering, identity theft, surveillance, anonymity |
        audit, harden, bypass, crack, block, ban/banning/banned""",
    "compiler": """LLVM, Emacs, GCC, Vim, Clang, WebAssembly, Neovim | Lang, Script, Parse, Lint |
        parser, linter, compiler, macro, closure, debugger, type checker, assembler, interpreter, regex, coroutine,
        lexer, decompiler, iterator, syntax tree, pointer, enum |
        type inference, pattern matching, memory safety, recursion, error handling, metaprogramming, static typing |
        test, optimize, extend, port, simplify/simplifying/simplified, write/writing/wrote""",
    "hardware": """Raspberry Pi, Arduino, RISC-V, KiCad, ESP32, ThinkPad, Amiga | Board, Chip, Bot, Watt |
        keyboard, drone, 3D printer, microcontroller, synthesizer, typewriter, oscilloscope, robot arm, smartwatch,
        router, laptop, antenna, FPGA, battery, radio, calculator, turntable |
        soldering, chip design, overclocking, planned obsolescence, open hardware, tinkering, miniaturization |
        repair, restore, hack, upgrade, build/building/built, sell/selling/sold""",
    "work": """Slack, Jira, Notion, Excel, Zoom, GitHub, Trello, Obsidian | Desk, Note, Task, Flow |
        standup, side project, code review, interview, pull request, meeting, inbox, roadmap, pitch deck, résumé, email,
        stock option, bug report, sabbatical, to-do list, job offer, deadline |
        remote work, burnout, impostor syndrome, pair programming, venture capital, deep work, procrastination |
        survive, avoid, schedule, fix, cancel, run/running/ran""",
    "games": """Unity, Godot, Blender, Doom, Minecraft, Vulkan, Quake, Tetris | Quest, Play, Craft, Arcade |
        roguelike, chess engine, shader, puzzle, platformer, maze, crossword, emulator, sprite, board game, jigsaw,
        voxel, flight simulator, card game, joystick, level editor, dungeon |
        procedural generation, collision detection, pixel art, speedrunning, path tracing, level design, nostalgia |
        sketch, port, solve, animate, speed up/speeding up/sped up, sell/selling/sold""",
    "city": """OpenStreetMap, Bluetooth, LoRaWAN, Strava, Lego, Modbus | Grid, Ride, Transit, Solar |
        wind farm, reactor, bus, heat pump, bike lane, power plant, solar panel, night train, tram, parking lot, canal,
        toll road, turbine, ferry, airship, cargo bike, tunnel |
        carbon capture, urban planning, rent control, nuclear fusion, recycling, public transit, gentrification |
        subsidize, tax, rebuild/rebuilding/rebuilt, map/mapping/mapped, ban/banning/banned""",
    "biology": """CRISPR, AlphaFold, PubMed, Fitbit, ImageJ, Nextflow | Bio, Med, Gene, Cell |
        vaccine, blood test, stem cell, hearing aid, pacemaker, clinical trial, painkiller, antibiotic, implant,
        honeybee, coral reef, fruit fly, seed bank, mushroom, protein, allergy, microscope |
        fasting, sleep, gene editing, aging, chronic pain, protein folding, air pollution, photosynthesis, evolution |
        test, engineer, preserve, patent, study/studying/studied, grow/growing/grew""",
    "space": """Starlink, Hubble, Voyager, Kepler, Soyuz, Gaia, Stellarium | Sat, Orbital, Launch, Star |
        telescope, satellite, rocket, rover, lunar lander, space station, CubeSat, launch pad, solar sail, spacesuit,
        moon base, planetarium, airlock, thruster, capsule, spy balloon, observatory |
        dark matter, orbital mechanics, space weather, asteroid mining, space debris, zero gravity, light pollution |
        launch, track, simulate, insure, photograph""",
}

# A language: what belongs to it.
LANGUAGES = {
    "Python": "NumPy, Django, pandas, Flask, asyncio",
    "Rust": "Cargo, Tokio, Serde, Clippy",
    "JavaScript": "npm, Node.js, Webpack, jQuery",
    "Go": "goroutines, gRPC, Hugo, Cobra",
    "C++": "Boost, CMake, Qt, Eigen",
    "Haskell": "monads, Cabal, Parsec, Yesod",
    "Java": "Spring, Maven, Hibernate, Gradle",
    "Elixir": "Phoenix, OTP, Nerves, Ecto",
    "Lisp": "s-expressions, Quicklisp, SLIME",
    "Ruby": "Rails, Sinatra, RSpec, Bundler",
    "Zig": "comptime, allocators, Mach",
}

# In a template, "{any.x}" is the rule x of one member of that group, the first members being the more frequent.
GROUPS = {"any": list(TOPICS), "maker": list(TOPICS)[:9], "world": list(TOPICS)[9:], "language": list(LANGUAGES)}

# Lists of words, the frequent ones first.
WORDS: dict[str, str] = {
    "adjective": """tiny, fast, simple, open-source, boring, modern, cheap, self-hosted, private, broken, minimal,
        offline, old, portable, strange, clever, hidden, free, forgotten, friendly, homemade, legacy, ancient, awkward,
        buggy, dusty, elegant, enormous, fake, famous, fragile, gentle, hackable, invisible, loud, magical, medieval,
        messy, modular, noisy, obscure, outdated, peculiar, playful, popular, quiet, quirky, rugged, silent, sleek,
        stubborn, talking, terrible, vintage, weird""",
    "audience": """teachers, small teams, students, musicians, nurses, lawyers, farmers, pilots, librarians, bakers,
        astronomers, beekeepers, brewers, cartographers, chefs, children, climbers, cyclists, dancers, dentists,
        doctors, filmmakers, firefighters, founders, freelancers, gardeners, hikers, historians, judges, landlords,
        mechanics, novelists, nonprofits, parents, plumbers, poets, potters, sailors, shepherds, surgeons""",
    "personal": """busy, young, retired, impatient, amateur, lonely, curious, lazy, tired, paranoid, ambitious, shy,
        rich, honest, nervous, traveling, left-handed""",
    "place": """London, Berlin, Paris, New York, Zürich, Tokyo, Boston, Seattle, Toronto, Kraków, São Paulo, Malmö,
        Lagos, Nairobi, Mumbai, Austin, Chicago, Denver, Dublin, Lisbon, Madrid, Vienna, Prague, Warsaw, Oslo, Göteborg,
        Riga, Helsinki, Tallinn, Reykjavík, Utrecht, Milan, Athens, Cairo, Accra, Seoul, Cape Town, 東京, 台北, Osaka,
        Sydney, Montréal, Bogotá, Lima, Detroit, Medellín, Düsseldorf, Århus, Łódź, Kyiv""",
    "first_name": """Anna, José, Łukasz, Zoë, Maria, David, Priya, Jürgen, Siobhán, Yuki, Omar, Ingrid, Björn, Amara,
        Elena, Noor, Hugo, Agnès, Tomáš, Ravi, Bruno, Clara, Dmitri, Esther, Felix, Greta, Hana, Ivan, Kofi, Leila""",
    "last_name": """Okafor, Marsh, Núñez, Tanaka, Brandt, Haddad, Novák, O’Dowd, Müller, Dubois, Petrov, Sato, Castillo,
        Abebe, Weiss, Holloway, Ashford, Bergström, Çelik, Dahl, Eriksen, Fontaine, Hartley, Ibarra, Jansen, Laurent,
        Ortega, Pereira, Quigley, Romano, Schäfer, Thornton, Ueda, Varga, Yılmaz, Zhang""",
    "stem": """Quill, Lark, Tide, Ember, Fern, Onyx, Cobalt, Maple, Pixel, Raven, Cedar, Flint, Harbor, Kestrel, Lumen,
        Mango, Nimbus, Otter, Pebble, Quartz, Ripple, Tundra, Umbra, Velvet, Willow, Zephyr, Basil, Comet, Echo, Falcon,
        Hazel, Indigo, Jasper, Kite, Lotus, Nectar, Opal, Prism, Sable, Thistle, Wren, Acorn, Birch, Dune, Fable""",
    "onset": """Vel, Nor, Kal, Tor, Bri, Fen, Zan, Quo, Mar, Lum, Hex, Ori, Pra, Sol, Tre, Vin, Wex, Yar, Bel, Cor, Dra,
        Eld, Gal, Hal, Jun, Kor, Lor, Mon, Nex, Pol, Rud, Syn, Tav, Ulm, Zep""",
    "coda": "tra, dex, via, mio, ro, vance, stra, lio, den, quist, ta, nova, rix, mark, pia, lon, fy, ware, zo, bit",
    "vowel": "a, i, o, e",
    "company_kind": "Labs, Systems, Robotics, Health, Energy, Motors, Bank, Foods, Media",
    "quality": """slow, hard, overrated, underrated, popular, expensive, misunderstood, addictive, rare, important,
        political, profitable, difficult, confusing, ugly, common, unpopular, predictable, scary, fun, dying""",
    "scholarly": """scalable, robust, sparse, efficient, optimal, distributed, adaptive, verified, parallel, formal,
        incremental, practical, universal, quantum, random, interpretable, fair, composable, probabilistic""",
    "quit": """stopped using, still use, gave up on, love, no longer trust, came back to, hate, pay for, collect, teach,
        miss, outgrew, fear, forgave""",
    "learned": "get wrong about, taught me about, know about, want from, can learn from, forget about, love about",
    "essay_noun": "history, art, beauty, decline, future, cost, return, joy, ethics, limits, myth, death, politics",
    "guide": "introduction, guide, tutorial, crash course, cheat sheet, handbook, tour, reading list",
    "flaw": "Heap overflow, Code execution, SQL injection, Path traversal, Race condition, Timing attack, Backdoor",
    "records": "passwords, medical records, phone numbers, credit cards, messages, tax returns, chat logs, photos",
    "demand": "sues, settles with, threatens, apologizes to, warns, partners with, blames, copies, outbids",
    "rule_on": "fines, bans, investigates, sues, raids, bails out, pardons, subpoenas",
    "move": "resigns, steps down, retires, apologizes, goes on leave, testifies",
    "scientist": "Scientists, Researchers, Engineers, Physicists, Astronomers, Students, Economists, Volunteers",
    "discover": "build, find, unveil, patent, propose, lose, discover, bury, recycle",
    "role": "creator, maintainer, inventor, author, designer, founder, critic",
    "job": "backend engineers, designers, data scientists, interns, a salesperson, a technical writer, a recruiter",
    "closing": "What next?, Worth it?, Am I alone?, Advice?, Now what?, Is it too late?, Any regrets?, Who else?",
    "setting": "at work, in production, at home, on a budget, alone, at scale, in the cloud, under pressure",
    "rose": "rose, fell, grew, dropped, is up, is down",
    "developers": "developers, programmers, beginners, experts",
}
NUMBERS: dict[str, Iterable[int | str]] = {
    "count": range(2, 100),
    "digit": range(10),
    "digit_from_1": range(1, 10),
    "tens": range(10, 100),
    "small": range(2, 31),
    "percent": range(2, 98),
    "year": range(2023, 1969, -1),
    "batch_year": [f"{year % 100:02}" for year in range(2023, 2005, -1)],
    "future": range(2025, 2061),
    "major": range(1, 25),
    "minor": range(20),
    "amount_a": range(10, 30),
    "amount_b": range(30, 80),
    "amount_c": range(80, 300, 5),
}

# A template: "{name}" refers to a rule.
RULES: dict[str, list[tuple[float, str]]] = {
    "title": [
        (11, "Show HN: {maker.show}"),
        (11, "Ask HN: {any.ask}"),
        (2, "Tell HN: {any.tell}"),
        (3, "Launch HN: {company} (YC {season}{batch_year}) – {maker.pitch}"),
        (1, "{company} (YC {season}{batch_year}) is hiring {job} in {place}"),
        (28, "{any.news}"),
        (10, "{maker.release}"),
        (3, "{any.breach}"),
        (3, "{company} leaks {count}M {records} of {audience}"),
        (15, "{any.essay}"),
        (5, "{maker.howto}"),
        (5, "{any.paper}"),
        (5, "{world.science}"),
        (5, "{language.topic}"),
        (4, "{any.people}"),
    ],
    "company": [(4, "{onset}{coda}"), (4, "{onset}{vowel}{coda}"), (3, "{stem} {company_kind}")],
    "person": [(1, "{first_name} {last_name}")],
    "season": [(1, "S"), (1, "W")],
    "money": [(2, "${digit_from_1}M"), (3, "${tens}M"), (2, "${tens}0M"), (1, "${digit_from_1}.{digit}B")],
    "round": [
        (2, "${digit_from_1}.{digit}M seed round"),
        (3, "${amount_a}M Series A"),
        (3, "${amount_b}M Series B"),
        (2, "${amount_c}M Series C"),
    ],
    "span": [(1, "a year"), (1, "a week"), (4, "{small} years"), (3, "{count} days"), (2, "{count} hours")],
    "version": [(3, "{major}.{minor}"), (4, "{major}.{minor}.{digit}")],
    "maybe_year": [(1, ""), (1, " ({year})")],
    "paper_end": [(4, " ({year}) [pdf]"), (2, " [pdf]")],
    "talk_end": [(2, " [video]"), (3, " ({year}) [video]"), (1, " [audio]")],
}

# Rules that every topic has; a leading dot means "of this topic".
TOPIC_RULES: dict[str, list[tuple[float, str]]] = {
    "product": [(3, "{stem}{.ending}"), (2, "{onset}{.ending}")],
    "plural": [(3, "{.things}"), (5, "{adjective} {.things}"), (2, "{.tool} {.things}")],
    "single": [(2, "{.a_thing}"), (6, "{an_adjective} {.thing}"), (2, "{.a_tool} {.thing}")],
    "pitch": [
        (5, "{an_adjective} {.thing} for {audience}"),
        (3, "{.Verb} {.plural} with {.tool}"),
        (2, "{adjective} {.things} in {language.name}"),
        (2, "{.Matter} for {personal} {audience}"),
    ],
    "show": [
        (6, "{.product} – {.pitch}"),
        (2, "{.product} {version} – {.pitch}"),
        (2, "I built {.single} in {count}0 lines of {language.name}"),
        (2, "I {.past} {count} {.plural} in {span}"),
        (2, "{An_adjective} {.thing} I made for {personal} {audience}"),
    ],
    "ask": [
        (3, "How do you {.verb} {count} {.plural} {setting}?"),
        (3, "Best {adjective} {.thing} for {audience}?"),
        (3, "Is {.matter} worth it for {personal} {audience}?"),
        (2, "Why are {.plural} so {quality} in {place}?"),
        (2, "Why is {.matter} so {quality} in {place}?"),
        (4, "Anyone using {.product} {version} for {.matter}?"),
        (2, "{.product}, {.tool} or {.product} for {audience}?"),
        (3, "Does {company} {.verb} its {.plural}?"),
        (3, "I {.past} {count} {.plural} in {span}. {closing}"),
    ],
    "tell": [
        (2, "{company} is {.verbing} your {.plural}"),
        (2, "I {.past} {count} {.plural} and {quit} {any.matter}"),
    ],
    "news": [
        (4, "{company} raises {round} to {.verb} {.plural}"),
        (2, "{company} raises {round} for {.matter}"),
        (3, "{company} buys {company} for {money} to {.verb} {.things}"),
        (2, "{company} buys {.product} for {money}"),
        (3, "{company} {demand} {company} over {.plural}"),
        (3, "{company} lays off {percent}% of its {.matter} team after losing {money}"),
        (2, "{company} CEO {person} {move} over {.plural}"),
        (2, "{place} {rule_on} {company} over {adjective} {.things}"),
        (2, "{company} open-sources {.product}, {an_adjective} {.thing}"),
        (2, "{company} drops {.tool} for {.product}"),
    ],
    "release": [
        (3, "{.tool} {version} released with {.plural}"),
        (3, "{.product} {version}: {adjective} {.things} for {audience}"),
        (2, "{.tool} {version} drops {count} {.plural}"),
        (2, "{.product} {version} is {percent}% faster than {.tool}"),
    ],
    "breach": [
        (2, "CVE-{year}-{digit_from_1}{digit}{digit}{digit}: {flaw} in {.tool}"),
        (2, "{flaw} in {.plural} exposes {count}M {records}"),
        (2, "Hackers {.verb} {count} {.plural} in {place}"),
    ],
    "essay": [
        (3, "Why I {quit} {adjective} {.things}{maybe_year}"),
        (3, "Why {company} {.past} its {.plural}{maybe_year}"),
        (4, "How we {.past} {count} {.plural} in {span}"),
        (3, "What {audience} {learned} {.plural}"),
        (2, "What {audience} {learned} {.matter} ({year})"),
        (3, "The {essay_noun} of {adjective} {.things}{maybe_year}"),
        (2, "The {adjective} {.thing} that changed {place}{maybe_year}"),
        (2, "{.Matter} is {quality}, {any.matter} is {quality}"),
        (2, "Why {.things} are {quality} and {any.things} are {quality}"),
        (2, "Against “{adjective} {.things}” ({year})"),
        (3, "{person}’s {adjective} {.thing} ({year})"),
        (2, "My {adjective} {.thing}, {span} later"),
    ],
    "howto": [
        (4, "{.Verbing} {.plural} with {.tool}, part {small}"),
        (3, "How to {.verb} {adjective} {.things} in {span}{maybe_year}"),
        (3, "Writing {.single} in {count}0 lines of {language.name}"),
        (2, "{An_adjective} {guide} to {.matter} for {audience}"),
        (2, "Understanding {.matter} with {adjective} {any.things}{maybe_year}"),
    ],
    "paper": [
        (4, "{.Verbing} {scholarly} {.things} with {any.matter}{paper_end}"),
        (3, "{stem}: {scholarly} {.matter} for {any.things}{paper_end}"),
        (3, "Towards {scholarly} {.things} via {scholarly} {any.matter}{paper_end}"),
        (1, "A survey of {count} {scholarly} {.things}{paper_end}"),
    ],
    "science": [
        (2, "{place} to {.verb} {count} {.plural} by {future}"),
        (4, "{scientist} in {place} {discover} {count} {.plural}"),
        (3, "{.Matter} {rose} {percent}% in {place} since {year}"),
        (2, "{company} wants to {.verb} {count} {.plural}"),
        (2, "Study of {count} {audience} links {.matter} to {maker.matter}"),
    ],
    "people": [
        (3, "{person}, {role} of {.tool}, on {any.matter}"),
        (3, "{person} on {.verbing} {.plural}{talk_end}"),
        (2, "Interview with {person}, {role} of {.product}"),
        (2, "{person}: {.Matter} for {audience}{talk_end}"),
    ],
}

# Rules that every language has; "{.other}" is any language but this one.
LANGUAGE_RULES: dict[str, list[tuple[float, str]]] = {
    "topic": [
        (3, "{.name} {version}: {.package} and {maker.matter}"),
        (3, "{company}: from {.name} to {.other} in {span}"),
        (3, "Why {company} moved from {.name} to {.other}{maybe_year}"),
        (2, "{.package} for {personal} {.other} {developers} ({year})"),
        (3, "Rewriting {maker.single} in {.name} with {.package}"),
        (2, "{.name} without {.package}: {an_adjective} {guide} for {audience}"),
        (2, "Is {.name} {quality}? {count} {developers} on {.package}"),
    ],
}
Alternatives = list[tuple[float, str]]
# How a word is read decides between "a" and "an", not how it is written.
READ_WITH_VOWEL = tuple("nginx SQLite XGBoost LLVM FPGA RSS ESP32 a e i o u A E I O".split())
READ_WITH_CONSONANT = ("uni", "use")


def _split(text: str) -> list[str]:
    return [" ".join(part.split()) for part in re.split(r",\s", text)]


def _by_rank(options: Iterable[int | str]) -> Alternatives:
    """Weigh options by rank, with a division, because powers and logarithms differ between platforms."""
    return [(1 / (rank + 10), str(option)) for rank, option in enumerate(options)]


def _with_article(words: str) -> str:
    vowel = words.startswith(READ_WITH_VOWEL) and not words.startswith(READ_WITH_CONSONANT)
    return f"{'an' if vowel else 'a'} {words}"


def _plural(words: str) -> str:
    if words.endswith(("s", "x", "ch")):
        return words + "es"
    return re.sub(r"([^aeiou])y$", r"\1ie", words) + "s"


def _forms(verb: str) -> list[str]:
    stem = verb.removesuffix("e")
    return verb.split("/") if "/" in verb else [verb, f"{stem}ing", f"{stem}ed"]


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]


def _rules_of(owner: str, lists: dict[str, list[str]], templates: dict[str, Alternatives]) -> dict[str, Alternatives]:
    """Name the rules of one topic or language after it, and let the leading dots of its templates mean it."""
    rules = {f"{owner}.{name}": _by_rank(options) for name, options in lists.items()}
    for name, alternatives in templates.items():
        rules[f"{owner}.{name}"] = [(weight, text.replace("{.", f"{{{owner}.")) for weight, text in alternatives]
    return rules


def _rules_of_topic(topic: str) -> dict[str, Alternatives]:
    tools, endings, things, matters, verbs = (_split(part.strip()) for part in TOPICS[topic].split("|"))
    lists = {"tool": tools, "ending": endings, "thing": things, "matter": matters}
    lists["verb"], lists["verbing"], lists["past"] = map(list, zip(*map(_forms, verbs), strict=True))
    lists["things"] = [_plural(thing) for thing in things]
    lists |= {f"a_{name}": [_with_article(words) for words in lists[name]] for name in ("tool", "thing")}
    lists |= {name.capitalize(): [_capital(words) for words in lists[name]] for name in ("matter", "verb", "verbing")}
    return _rules_of(topic, lists, TOPIC_RULES)


def _all_rules() -> dict[str, Alternatives]:
    rules = RULES | {name: _by_rank(_split(text)) for name, text in WORDS.items()}
    rules |= {name: _by_rank(options) for name, options in NUMBERS.items()}
    rules["an_adjective"] = [(weight, _with_article(words)) for weight, words in rules["adjective"]]
    rules["An_adjective"] = [(weight, _capital(words)) for weight, words in rules["an_adjective"]]
    for topic in TOPICS:
        rules |= _rules_of_topic(topic)
    for language, packages in LANGUAGES.items():
        others = [other for other in LANGUAGES if other != language]
        lists = {"name": [language], "package": _split(packages), "other": others}
        rules |= _rules_of(language, lists, LANGUAGE_RULES)
    for group, name in re.findall(rf"{{({'|'.join(GROUPS)})\.(\w+)}}", str([RULES, TOPIC_RULES, LANGUAGE_RULES])):
        rules[f"{group}.{name}"] = [(weight, f"{{{member}.{name}}}") for weight, member in _by_rank(GROUPS[group])]
    return rules


TITLE_RULES = _all_rules()


@functools.cache
def title_grammar() -> Grammar:
    """Return the grammar of the embedded corpus, built on the first call."""
    return Grammar(TITLE_RULES)
