"""The words and templates of the generated corpus, in the language that is not respelled."""

# Who verses tell of: each met someone, of whom the next verse tells. Names are the same in all languages: letters that
# are capitals are respelled in none.
ENTITIES = "ADINA BARAK DANIEL ELENA FELIX JONAS LIDIA MIRIAM RUBEN SALOME TAMAR TOBIAS".split()

# What verses are about: two words for each.
THEMES = [
    tuple(pair.split("/"))
    for pair in """lantern/lamp river/stream stone/rock bread/loaf robe/cloak sword/blade cup/goblet boat/ship
letter/scroll seed/grain sheep/lamb horse/mare coin/silver bell/gong rope/cord door/gate wall/fence tree/cedar
fruit/fig wine/nectar salt/spice bird/dove root/herb net/snare""".split()
]

# The other words of a verse, the likelier first.
WORDS = {
    "verb": "carried found lost sold hid painted washed bought stole buried mended guarded".split(),
    "preposition": "near under behind beside above inside outside beneath".split(),
    "place": "harbor market garden temple desert forest cave village bridge castle barn orchard".split(),
    "meet": "greeted followed helped called thanked blessed warned married".split(),
}

# (weight, template): {known} was met in the verse before, {met} is told of in the next.
TEMPLATES = [
    (4, "{known} {verb} the {theme} {preposition} the {place} and {meet} {met} ."),
    (3, "{known} {verb} the {theme} and {meet} {met} {preposition} the {place} ."),
    (2, "{preposition} the {place} {known} {verb} the {theme} and {meet} {met} ."),
    (1, "{known} {meet} {met} and {verb} the {theme} {preposition} the {place} ."),
]
