"""The templates of the embedded corpus: how a title, and each part of one, may be put together.

An alternative of a rule is (weight, template). In a template "{name}" refers to a rule, and "{any.name}" to the rule
`name` of one member of that group, the first members being the more frequent.
"""

from frontpage.data.grammar.title_words import LANGUAGES, TOPICS

Alternatives = list[tuple[float, str]]
GROUPS = {"any": list(TOPICS), "maker": list(TOPICS)[:9], "world": list(TOPICS)[9:], "language": list(LANGUAGES)}

RULES: dict[str, Alternatives] = {
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
TOPIC_RULES: dict[str, Alternatives] = {
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
LANGUAGE_RULES: dict[str, Alternatives] = {
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
