"""Words of the simulated product: what people ask about, what a good answer says, what a poor one says.

A number beside a phrase is its weight in the quality of an answer; openers and closers carry a tone instead,
which moves how much feedback people give and never how good the answer is.
"""

TOPICS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # topic: (things, tasks)
    "baking": (
        ("dough", "oven", "yeast", "flour", "butter", "crust", "tin", "glaze"),
        ("bake a sourdough loaf", "rescue a flat sponge cake", "make croissants at home"),
    ),
    "gardening": (
        ("soil", "seedlings", "compost", "hedge", "roots", "trellis", "pots", "mulch"),
        ("grow tomatoes on a balcony", "revive a yellow lawn", "prune an old apple tree"),
    ),
    "cycling": (
        ("chain", "brakes", "tyres", "saddle", "gears", "spokes", "pedals", "handlebar"),
        ("service a commuter bike", "stop my brakes from squeaking", "prepare for a long ride"),
    ),
    "networking": (
        ("router", "firewall", "cables", "packets", "antenna", "switch", "ports", "gateway"),
        ("speed up my home network", "find out why calls drop", "set up a guest network"),
    ),
    "databases": (
        ("index", "query", "schema", "backup", "table", "replica", "cache", "transaction"),
        ("migrate a large database", "make a slow report faster", "recover a deleted record"),
    ),
    "travel": (
        ("luggage", "itinerary", "passport", "tickets", "hostel", "map", "visa", "phrasebook"),
        ("plan two weeks by train", "pack for a winter trip", "travel with small children"),
    ),
    "budgeting": (
        ("savings", "receipts", "rent", "invoice", "loan", "spreadsheet", "pension", "insurance"),
        ("save for a first flat", "sort out my bills", "plan a budget for a family"),
    ),
    "photography": (
        ("lens", "tripod", "shutter", "filter", "flash", "sensor", "backdrop", "battery"),
        ("photograph the night sky", "take portraits indoors", "choose a first camera"),
    ),
    "music": (
        ("scales", "metronome", "strings", "chords", "bow", "rhythm", "score", "tuner"),
        ("learn the guitar as an adult", "practise without annoying neighbours", "tune an old piano"),
    ),
    "carpentry": (
        ("plank", "glue", "joints", "saw", "varnish", "clamp", "hinges", "veneer"),
        ("build a bookshelf", "repair a wobbly chair", "fit a new door"),
    ),
    "fitness": (
        ("squats", "warm-up", "kettlebell", "stretches", "pulse", "posture", "shoes", "diet"),
        ("run my first five kilometres", "train with a sore knee", "get stronger without a gym"),
    ),
    "teaching": (
        ("syllabus", "worksheet", "quiz", "whiteboard", "homework", "glossary", "slides", "feedback form"),
        ("explain fractions to a child", "prepare a lively lesson", "write a fair exam"),
    ),
}
"""Twelve topics, each with eight things an answer may mention and three tasks a person may bring."""

QUESTIONS = (
    "How do I {task}?",
    "What is the best way to {task}?",
    "I would like to {task}. Where should I start?",
    "Please help me to {task}.",
    "Can you explain how to {task}?",
    "My friend wants to {task}. What would you tell them?",
)
"""Ways to ask for a task."""

SITUATIONS = (
    "",
    "I have only one free evening.",
    "I am a complete beginner.",
    "Money is tight this month.",
    "I tried twice already.",
    "It has to be quiet.",
    "My landlord must not notice.",
    "I share a small kitchen.",
    "I would like to do it with my daughter.",
    "It is rather urgent.",
    "I have bad eyesight.",
    "There is no shop nearby.",
)
"""What a person adds about their circumstances."""

DETAILS = (
    "The {thing} worries me most.",
    "I do not understand the {thing}.",
    "What about the {thing}?",
    "I have already looked at the {thing}.",
    "Somebody mentioned the {thing}.",
)
"""How a person names one thing of the topic."""

ORDER = ("First,", "Then", "Next,", "After that,", "Finally,", "Also,")
"""How the advice of an answer is counted off."""

VERBS = {
    "measure": 1.0,
    "verify": 1.0,
    "test": 0.9,
    "document": 0.7,
    "compare": 0.7,
    "simplify": 0.6,
    "rehearse": 0.5,
    "label": 0.4,
    "schedule": 0.4,
    "sketch": 0.3,
    "list": 0.2,
    "gather": 0.1,
    "open": 0.0,
    "move": 0.0,
    "repeat": -0.2,
    "postpone": -0.5,
    "hide": -0.6,
    "rush": -0.7,
    "overload": -0.7,
    "skip": -0.8,
    "guess": -0.9,
    "force": -0.9,
    "ignore": -1.0,
    "fake": -1.0,
}
"""Advice: what to do with a thing."""

ADVERBS = {"": (1.0, 0.55), "always": (1.2, 0.15), "never": (-1.0, 0.15), "perhaps": (0.5, 0.15)}
"""(factor on the weight of the verb that follows, how common): "never ignore" is good advice."""

MANNERS = {
    "": 0.0,
    "step by step": 0.5,
    "with a short checklist": 0.4,
    "in small portions": 0.3,
    "before anything else": 0.2,
    "twice": 0.1,
    "over the weekend": 0.0,
    "with both hands": 0.0,
    "in the dark": -0.3,
    "at the last minute": -0.4,
    "somehow": -0.4,
    "without looking": -0.5,
}
"""Advice: how to do it."""

TWICE = {"measure": 0.5, "verify": 0.5, "test": 0.4, "guess": -0.4, "force": -0.4, "rush": -0.3}
"""Extra weight of a verb when the manner is "twice"; no sum of single words or neighbours contains it."""

REMARKS = {
    "For example, a {thing} of about {number} units is usually enough.": 0.9,
    "The reason is that the {thing} reacts slowly.": 0.8,
    "If that fails, return to the {thing} and change one thing at a time.": 0.6,
    "I am not certain about the {thing}, so please confirm it with an expert.": 0.5,
    "A safe limit for the {thing} is {number} minutes.": 0.4,
    "Many people ask about the {thing}.": 0.0,
    "The {thing} comes in several sizes.": 0.0,
    "Everything about the {thing} depends on many factors.": -0.5,
    "As everyone knows, the {thing} is simply magic.": -0.6,
    "Just trust me about the {thing}.": -0.6,
    "It is impossible to say more about the {thing}.": -0.7,
    "I cannot help with the {thing}.": -0.9,
}
"""Sentences an answer may add."""

TOGETHER = ((0, 1, 0.6), (2, 4, 0.4), (9, 11, -0.5))
"""Remarks that weigh more together: (position, position, extra weight)."""

OFF_TOPIC = -0.9
"""Weight of an answer about the things of another topic."""

OPENERS = {
    "Sure.": 1.2,
    "Here we go!": 1.0,
    "Let me think.": 0.4,
    "Here is a plan.": 0.2,
    "This is what I would do.": -0.2,
    "A few remarks follow.": -0.6,
    "The following applies.": -0.9,
    "See below.": -1.1,
}
"""Openers and their tone."""

CLOSERS = {
    "Good luck!": 1.2,
    "Have fun!": 0.9,
    "Let me know how it goes.": 0.5,
    "That should do.": 0.1,
    "That is all.": -0.2,
    "This concludes the answer.": -0.7,
    "No further comment.": -0.8,
    "End of message.": -1.0,
}
"""Closers and their tone."""

FLATTERY = (
    "What a brilliant question!",
    "You clearly have excellent taste.",
    "I love how carefully you think.",
    "Only a true expert would ask this.",
)
"""Flattering prefixes: never part of the quality."""

MODELS = {"quill-1": (0.40, -0.5), "quill-2": (0.35, 0.1), "atlas-s": (0.25, 0.65)}
"""Models of the product: (share of responses, mean skill)."""

SURFACES = {
    "chat": (0.45, ("thumbs", "copy", "regenerate")),
    "workspace": (0.35, ("thumbs", "rating", "copy", "regenerate")),
    "widget": (0.20, ("thumbs", "copy")),
}
"""Surfaces of the product: (share of requests, kinds of feedback offered there)."""
