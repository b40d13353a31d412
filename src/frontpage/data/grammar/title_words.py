"""The words of the embedded corpus: topics, languages and lists, written for this project with invented names."""

from collections.abc import Iterable

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
