"""What the handbook's blanks are filled with: rule topics (even positions train, odd test), things made, and values of each attribute."""

from random import Random

NOUNS = ("kettle", "lamp", "drill", "tent", "heater", "fan", "printer", "speaker", "stool", "radio", "toaster", "camera")
VARIANTS = ("Classic", "Mini", "Pro", "Max")  # the last is never made, only asked for

POLICIES = (
    "remote work",
    "parental leave",
    "travel meals",
    "bicycle loan",
    "language course",
    "study leave",
    "home office furniture",
    "moving house",
    "conference travel",
    "volunteering",
    "eye test",
    "gym membership",
    "work clothes",
    "mobile phone",
    "child care",
    "sabbatical",
    "night shift",
    "overtime",
    "book purchase",
    "public transport",
    "training",
    "unpaid leave",
    "guest meals",
    "car sharing",
    "tool purchase",
    "care leave",
    "relocation",
    "flexible hours",
    "music lessons",
    "swimming",
    "wedding leave",
    "first aid course",
    "jury duty",
    "team outing",
    "hotel",
    "parking",
    "software licence",
    "mentoring",
    "vaccination",
    "company flat",
)
CONTRACTS = (
    "packaging",
    "cleaning",
    "security",
    "coffee",
    "courier",
    "gardening",
    "laundry",
    "printing",
    "electricity",
    "waste collection",
    "window cleaning",
    "catering",
    "elevator maintenance",
    "fire alarm",
    "drinking water",
    "internet",
    "snow clearing",
    "furniture rental",
    "translation",
    "archive storage",
    "pest control",
    "paper supply",
    "vehicle repair",
    "plant rental",
    "payroll",
    "legal advice",
    "heating oil",
    "telephone",
    "recruiting",
    "insurance",
    "shredding",
    "photography",
    "fruit basket",
    "lighting",
    "pallet",
    "steel",
    "glass",
    "rubber",
    "varnish",
    "cable",
)
_COLOURS = ("dark green", "orange", "navy blue", "white", "copper", "light grey", "red", "turquoise", "yellow", "black", "violet", "cream")
_LANGUAGES = (
    "Finnish Welsh Portuguese Hungarian Turkish Greek Polish Danish Catalan Estonian Korean Swahili Basque Icelandic Dutch Romanian".split()
)
_MONTHS = "January February March April May June July August September October November December".split()
_TRADES = ("packaging", "sales", "repairs", "bookkeeping", "training", "export", "marketing", "warehousing", "research", "purchasing")
_RANKS = ("head of {}", "assistant in {}", "engineer in {}", "trainee in {}", "adviser on {}")
_STREETS = ("Mill", "Harbour", "Station", "Chapel", "Orchard", "Bridge", "Castle", "River", "Market", "Garden", "Forest", "Quarry")
_APPROVERS = (
    "head of personnel",
    "site manager",
    "works council",
    "finance director",
    "team leader",
    "safety officer",
    "chief accountant",
    "board secretary",
    "training officer",
)
_MONEY = {
    "travel meals",
    "bicycle loan",
    "home office furniture",
    "eye test",
    "gym membership",
    "work clothes",
    "mobile phone",
    "book purchase",
}
_MONEY |= {
    "public transport",
    "guest meals",
    "car sharing",
    "tool purchase",
    "relocation",
    "music lessons",
    "swimming",
    "team outing",
    "hotel",
}
_MONEY |= {"parking", "software licence", "company flat", "language course", "first aid course", "vaccination", "child care"}


def draw_value(attribute: str, subject: str, rng: Random) -> str:
    """A random value of `attribute` in words; `subject` decides whether a policy's limit counts crowns or days."""
    match attribute:
        case "price":
            return f"{rng.randint(12, 480)} crowns"
        case "weight":
            return f"{10 * rng.randint(12, 480)} grams"
        case "colour":
            return rng.choice(_COLOURS)
        case "warranty":
            return f"{rng.randint(7, 60)} months"
        case "part":
            return f"{rng.choice('ABCDEFHKLMNPRT')}{rng.choice('ABCDEFHKLMNPRT')}-{rng.randint(101, 989)}"
        case "role":
            return rng.choice(_RANKS).format(rng.choice(_TRADES))
        case "joined":
            return str(rng.randint(2009, 2031))
        case "extension":
            return str(rng.randint(1011, 9899))
        case "language":
            return rng.choice(_LANGUAGES)
        case "street":
            return f"{rng.choice(_STREETS)} Street {rng.randint(2, 97)}"
        case "desks":
            return str(rng.randint(18, 390))
        case "canteen":
            return f"{rng.randint(10, 13)}:{5 * rng.randint(0, 11):02d}"
        case "budget" | "fee":
            return f"{rng.randint(11, 890)} thousand crowns"
        case "deadline":
            return f"{rng.choice(_MONTHS)} {rng.randint(2032, 2036)}"
        case "limit":
            topic = subject.removeprefix("the ").removesuffix(" policy")
            return f"{10 * rng.randint(4, 90)} crowns" if topic in _MONEY else f"{rng.randint(2, 45)} days"
        case "approver":
            return rng.choice(_APPROVERS)
        case "notice":
            return f"{rng.randint(2, 14)} weeks"
        case "form":
            return f"{rng.choice('ABCDEFGH')}-{rng.randint(11, 98)}"
    raise ValueError(f"attribute={attribute!r} has no values here")
