"""The words and sentences of the demo stories: data only.

A story is told section by section (`SECTIONS`). A section, like a word table, is
a set of options with integer weights. Options are templates:

    {name}          recalls a fact of this story: no choice, no information
    <table>         chooses from TABLES["table"] and remembers it as {table}
    <table:name>    the same, remembered as {name}

Facts that follow from a choice (a hero's pronoun, the day after a day) are in
`FACTS`. Weights are skewed on purpose, and many depend on an earlier choice
(`Tilted`, `Given`), so that a model has both precise probabilities to learn and
words to carry over long distances.

One rule keeps the text uniquely decodable (see generate.py): where a choice is
made, the text up to the next choice must differ from that of every other option,
and none may be the beginning of another.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Given:
    """One set of options for each value of an earlier choice."""

    key: str
    cases: dict


@dataclass(frozen=True)
class Tilted:
    """Options whose order of preference is rotated by an earlier choice."""

    key: str
    options: dict


def ranked(words, decay=0.62):
    """Options "a|b|c" with weights that fall by `decay` from rank to rank."""
    return {word: max(1, round(1000 * decay**rank)) for rank, word in enumerate(words.split("|"))}


def weighted(*pairs):
    """Options from (weight, template) pairs."""
    return {template: weight for weight, template in pairs}


PLACES = "harbour|forest|market|river|garden|hill"
ANIMALS = "fox|heron|badger|mouse|goat|rabbit|turtle|donkey"
COLOURS = "green|red|blue|yellow|white|brown|purple"
HEROES = "Nora|Tom|Ida|Oscar|Ben|Clara|Lucy|Hugo|Mei|Sam|Freya|Emil|Anna|Jonas|Rosa|Karl"

TABLES = {
    "hero": ranked(HEROES, 0.84),
    "kin": Tilted("hero", ranked("grandmother|uncle|sister|father|aunt|brother", 0.5)),
    "day": ranked("Sunday|Friday|Monday|Thursday|Saturday|Tuesday|Wednesday", 0.75),
    "weather": Tilted("place", ranked("windy|rainy|sunny|foggy|snowy", 0.55)),
    "place": Tilted("weather", ranked(PLACES, 0.6)),
    "time": Tilted("weather", ranked("morning|afternoon|day", 0.5)),
    "trait": ranked("brave|quiet|clever|stubborn|cheerful|shy", 0.7),
    "went": ranked("went|walked|hurried|ran|wandered", 0.55),
    "size": ranked("small|heavy|round|tiny|broken|shiny", 0.68),
    "colour": Tilted("size", ranked(COLOURS, 0.66)),
    "thing": Tilted("colour", ranked("lantern|kite|drum|book|bell|map|whistle|clock|cup|umbrella", 0.66)),
    "bag": Tilted("thing", ranked("basket|pocket|sack|box|suitcase", 0.55)),
    "food": ranked("bread|cheese|plums|honey|nuts|carrots|soup|cake|rice", 0.78),
    "cloth": Tilted("hero", ranked("coat|hat|scarf|sleeves|boots", 0.5)),
    "landmark": Given("place", {
        "harbour": ranked("old pier|lighthouse|fish shop|red boat"),
        "forest": ranked("hollow oak|dark cave|wooden bridge|clearing"),
        "market": ranked("bread stall|fountain|town clock|flower cart"),
        "river": ranked("water mill|ferry|flat stones|tall reeds"),
        "garden": ranked("greenhouse|apple tree|pond|stone wall"),
        "hill": ranked("ruined tower|windmill|shepherd hut|lonely pine"),
    }),
    "met": ranked("met|saw|found|heard", 0.5),
    "animal": Tilted("place", ranked(ANIMALS, 0.62)),
    "pet": Tilted("animal", ranked("Pip|Moss|Button|Juniper|Captain|Velvet|Zigzag", 0.6)),
    "mood": Tilted("animal", ranked("sad|worried|tired|cross|ashamed", 0.55)),
    "count": ranked("two|three|four|five", 0.55),
    "lost": Tilted("animal", ranked("shells|keys|feathers|coins|marbles|spoons|ribbons|candles", 0.64)),
    "spot": Given("place", {
        "harbour": ranked("under a barrel|behind the nets|in the wet sand|between two ropes|on an anchor|below the steps|inside a crab pot", 0.72),
        "forest": ranked("under a fern|behind a log|in the moss|between two roots|on a mushroom|below a nest|inside an old stump", 0.72),
        "market": ranked("under a table|behind the baker|in the straw|between two crates|on a cushion|below the scales|inside a jug", 0.72),
        "river": ranked("under a raft|behind a rock|in the mud|between two logs|on a lily leaf|below the dam|inside a bucket", 0.72),
        "garden": ranked("under a cabbage|behind the shed|in the grass|between two roses|on a ladder|below the hedge|inside a flower pot", 0.72),
        "hill": ranked("under a bush|behind a sheep|in the heather|between two stones|on a fence|below the ledge|inside a burrow", 0.72),
    }),
    "looked": ranked("looked|searched|felt|dug", 0.45),
    "tone": Tilted("pet", ranked("slow|funny|strange|merry|soft", 0.55)),
    "topic": Tilted("tone", ranked("moon|sea|king|winter|stars|thunder", 0.55)),
    "share": None,  # one of the three foods of this story: see generate.py
    "glad": Tilted("animal", ranked("happy|proud|grateful|delighted", 0.5)),
    "gift": Tilted("lost", ranked("pearl|pebble|song book|pie|apple|stone|feather", 0.6)),
    "look": Tilted("animal", ranked("thin|tall|grey|sleepy|muddy|wise|young", 0.68)),
    "found": ranked("found|discovered|noticed|picked up", 0.5),
    "fine": Tilted("gift", ranked("good|little|lovely|fine|strange|golden", 0.66)),
    "dreamed": ranked("dreamed|thought|spoke|wrote", 0.5),
    "whom": Tilted("kin", ranked("everyone|the neighbours|a friend|the baker|the teacher", 0.6)),
    "adverb": ranked("softly|loudly|at once|again|with a smile", 0.55),
}

# Tables of which a story never uses the same option twice.
DISTINCT = {"food", "spot"}

SECTIONS = {
    "opening": weighted(
        (5, "One <weather> <time>, <hero> <went> to the <place> with {his} <kin>. It was a <day>."),
        (3, "On <day>, <hero> and {his} <kin> <went> to the <place>. It was a <weather> <time>."),
        (2, "Long ago, <hero> was a <trait> {child} who lived near the <place>. One <weather> <day>, {he} <went> out with {his} <kin>."),
    ),
    "gear": weighted(
        (5, " {He} carried a <size> <colour> <thing> in {his} <bag>."),
        (3, " In {his} <bag> was a <size> <colour> <thing>."),
        (2, " {His} {kin} put a <size> <colour> <thing> in {his} <bag>."),
    ),
    "lunch": weighted(
        (5, " They took <food:food1>, <food:food2> and <food:food3>."),
        (3, " For supper they packed <food:food1>, <food:food2> and <food:food3>."),
        (1, " \"We have <food:food1>, <food:food2> and <food:food3>,\" said {his} {kin} <adverb>."),
    ),
    "sky": Given("weather", {
        "windy": weighted((5, " The wind pulled at {his} <cloth>."), (3, " Leaves flew over the {place}."), (1, " The wind was loud.")),
        "rainy": weighted((5, " The rain ran down {his} <cloth>."), (3, " Every path was wet."), (2, " There were puddles near the {place}.")),
        "sunny": weighted((4, " The sun shone on {his} <cloth>."), (4, " The sky was clear."), (1, " It was hot.")),
        "foggy": weighted((3, " The fog hid {his} <cloth>."), (6, " Nobody could see far."), (1, " The {place} was grey.")),
        "snowy": weighted((6, " The snow lay on {his} <cloth>."), (2, " It was cold."), (2, " Ice covered the {place}.")),
    }),
    "meeting": weighted(
        (5, " Near the <landmark> they <met> a <look> <animal> called <pet>."),
        (3, " Soon a <look> <animal> came from the <landmark>. \"I am <pet>,\" it said <adverb>."),
        (2, " \"Good {time},\" said a <look> <animal> by the <landmark>. \"I am <pet>.\""),
    ),
    "loss": weighted(
        (5, " {pet} was <mood>. \"I lost my <count> <lost>!\""),
        (3, " \"Please help me,\" said {pet} <adverb>. \"My <count> <lost> are gone.\""),
        (2, " The {animal} was <mood>, because <count> <lost> were gone."),
    ),
    "search": weighted(
        (6, " {He} <looked> <spot> and <found> the {ordinal} {one}."),
        (3, " The {ordinal} {one} was <spot>."),
        (2, " {His} {kin} <found> the {ordinal} {one} <spot>."),
        (1, " {pet} <looked> <spot>, but there was nothing."),
    ),
    "pause": weighted(
        (4, " \"Where is your {colour} {thing}?\" asked {his} {kin}. \"In my {bag},\" said {hero}."),
        (4, " Because {pet} was hungry, {hero} shared the <share>."),
        (2, " Then {pet} sang a <tone> song about the <topic>."),
        (7, " Now {all} {lost} were back."),
    ),
    "thanks": weighted(
        (5, " \"Thank you, {hero},\" said {pet} <adverb>, and gave {him} a <fine> <gift>."),
        (3, " {pet} the {animal} was <glad> and gave {hero} a <fine> <gift>."),
        (2, " {His} {kin} was <glad> too, and {pet} gave them a <fine> <gift>."),
    ),
    "evening": weighted(
        (5, " In the evening {hero} {used} the {size} {colour} {thing}, and they ate {left}."),
        (3, " At home they ate {left}, and {he} {used} the {colour} {thing}."),
        (2, " Before they ate {left}, {hero} {used} the {thing}."),
    ),
    "last": weighted(
        (5, " That night {he} <dreamed> of {pet} and the {count} {lost}.\n\n"),
        (3, " On {next_day} {he} told <whom> about the {look} {animal} and the {gift}.\n\n"),
        (2, " It had been a <fine> {weather} {day}.\n\n"),
    ),
}

ORDINALS = ["first", "second", "third", "fourth", "fifth"]
NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5}

SHE = {"he": "she", "He": "She", "him": "her", "his": "her", "His": "Her", "child": "girl"}
HE = {"he": "he", "He": "He", "him": "him", "his": "his", "His": "His", "child": "boy"}
GIRLS = {"Nora", "Ida", "Clara", "Lucy", "Mei", "Freya", "Anna", "Rosa"}
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
USES = {
    "lantern": "lit", "kite": "mended", "drum": "played", "book": "read", "bell": "rang",
    "map": "unfolded", "whistle": "blew", "clock": "wound", "cup": "filled", "umbrella": "dried",
}

# What follows from a choice: FACTS[table][chosen] are facts to remember.
FACTS = {
    "hero": {name: SHE if name in GIRLS else HE for name in HEROES.split("|")},
    "day": {day: {"next_day": DAYS[(i + 1) % 7]} for i, day in enumerate(DAYS)},
    "count": {"two": {"all": "both"}} | {n: {"all": f"all {n}"} for n in ("three", "four", "five")},
    "lost": {word: {"one": word[:-1]} for word in TABLES["lost"].options},
    "thing": {thing: {"used": verb} for thing, verb in USES.items()},
}
