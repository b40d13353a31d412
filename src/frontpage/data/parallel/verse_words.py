"""The words and templates of the generated corpus, in the language that is not respelled."""

# Who verses tell of: each met someone, of whom the next verse tells.
ENTITIES = """tobias miriam samuel hanna daniel rebeka david salome josef marta elena ruben tamar gideon naomi simon
delila jonas susanna abel dina felix barak lidia markus judit silas rahel kaleb adina""".split()

# What verses are about: two words for each.
THEMES = [
    tuple(pair.split("/"))
    for pair in """lantern/lamp river/stream stone/rock bread/loaf robe/cloak sword/blade cup/goblet boat/ship
letter/scroll seed/grain sheep/lamb horse/mare coin/silver ring/band bell/gong rope/cord tent/camp door/gate wall/fence
tree/cedar fruit/fig wine/nectar oil/balm salt/spice meat/stew fish/perch bird/dove root/herb rose/lilac net/snare
basket/hamper ladder/stair table/bench bed/mat pillow/cushion mirror/glass needle/pin wool/fleece linen/silk crown/tiara
throne/seat banner/flag arrow/dart shield/armor helmet/cap wagon/cart wheel/axle plough/sickle hammer/mallet nail/peg
bucket/pail pot/kettle fire/flame ash/ember book/tome song/hymn harp/lute mask/veil pearl/gem candle/torch""".split()
]

# The other words of a verse, the likelier first.
WORDS = {
    "verb": """carried found lost sold hid painted washed bought stole buried mended lifted dropped broke guarded
counted wanted praised burned traded""".split(),
    "adjective": """red golden old small broad bright dark broken simple round warm cold clean bitter sweet hidden white
black green precious""".split(),
    "preposition": "near under behind beside above inside outside beneath".split(),
    "place": """harbor market garden temple desert forest hill cave village bridge castle barn inn mill meadow orchard
palace island tavern cellar""".split(),
    "meet": """greeted followed helped called thanked blessed warned married fed taught trusted healed pitied
met""".split(),
}

# (weight, template): {known} was met in the verse before, {met} is told of in the next.
TEMPLATES = [
    (4, "{known} {verb} the {adjective} {theme} {preposition} the {place} , and {meet} {met} ."),
    (3, "{preposition} the {place} {known} {verb} the {adjective} {theme} , and {meet} {met} ."),
    (2, "{known} {meet} {met} {preposition} the {place} , and {verb} the {adjective} {theme} ."),
    (1, "{meet} by {known} , {met} {verb} the {adjective} {theme} {preposition} the {place} ."),
]
