"""Plain texts: haiku, greetings in many scripts, recipes with line breaks, letters to a zoo."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

    from sutro_magic.demo.job_spec import Columns

_FIRST = (
    "Morning on the quay", "An old umbrella", "Snow on the bike path", "The kettle whistles",
    "Moths around the lamp", "Rain on the tin roof", "The museum is closed", "Night bus, window seat",
)  # fmt: skip
_SECOND = (
    "a gull reads yesterday's news", "somebody hums a half song", "the cat has moved the whole world",
    "two pigeons share a secret", "nobody waits for the tram", "the moon forgets its homework",
    "a snail overtakes the post", "the clock chews on its minutes",
)  # fmt: skip
_THIRD = (
    "bread is in the air", "and then it is spring", "no one is in charge", "the tide says: again",
    "tea for both of us", "all the lights turn green", "tomorrow can wait", "a leaf signs its name",
)  # fmt: skip

# Country, own name, capital, capital in its own script, a greeting, flag.
_COUNTRIES = (
    ("Japan", "日本", "Tokyo", "東京", "こんにちは", "🇯🇵"),
    ("Greece", "Ελλάδα", "Athens", "Αθήνα", "Γεια σας", "🇬🇷"),
    ("Egypt", "مصر", "Cairo", "القاهرة", "مرحبًا", "🇪🇬"),
    ("Mongolia", "Монгол Улс", "Ulaanbaatar", "Улаанбаатар", "Сайн байна уу", "🇲🇳"),  # noqa: RUF001 - it is Cyrillic
    ("India", "भारत", "New Delhi", "नई दिल्ली", "नमस्ते", "🇮🇳"),
    ("Thailand", "ประเทศไทย", "Bangkok", "กรุงเทพฯ", "สวัสดี", "🇹🇭"),
    ("South Korea", "대한민국", "Seoul", "서울", "안녕하세요", "🇰🇷"),
    ("China", "中国", "Beijing", "北京", "你好", "🇨🇳"),
    ("Ukraine", "Україна", "Kyiv", "Київ", "Добрий день", "🇺🇦"),
    ("Bulgaria", "България", "Sofia", "София", "Здравейте", "🇧🇬"),
    ("Armenia", "Հայաստան", "Yerevan", "Երևան", "Բարև", "🇦🇲"),
    ("Georgia", "საქართველო", "Tbilisi", "თბილისი", "გამარჯობა", "🇬🇪"),
    ("Ethiopia", "ኢትዮጵያ", "Addis Ababa", "አዲስ አበባ", "ሰላም", "🇪🇹"),
    ("Iran", "ایران", "Tehran", "تهران", "سلام", "🇮🇷"),
    ("Bangladesh", "বাংলাদেশ", "Dhaka", "ঢাকা", "নমস্কার", "🇧🇩"),
    ("Iceland", "Ísland", "Reykjavik", "Reykjavík", "Góðan daginn", "🇮🇸"),
    ("Poland", "Polska", "Warsaw", "Warszawa", "Dzień dobry", "🇵🇱"),
    ("Vietnam", "Việt Nam", "Hanoi", "Hà Nội", "Xin chào", "🇻🇳"),
    ("Türkiye", "Türkiye", "Ankara", "Ankara", "Merhaba", "🇹🇷"),
    ("Portugal", "Portugal", "Lisbon", "Lisboa", "Bom dia", "🇵🇹"),
    ("Finland", "Suomi", "Helsinki", "Helsinki", "Hyvää päivää", "🇫🇮"),
    ("Kenya", "Kenya", "Nairobi", "Nairobi", "Habari", "🇰🇪"),
    ("Brazil", "Brasil", "Brasília", "Brasília", "Olá", "🇧🇷"),
    ("Germany", "Deutschland", "Berlin", "Berlin", "Guten Tag", "🇩🇪"),
    ("Austria", "Österreich", "Vienna", "Wien", "Grüß Gott", "🇦🇹"),
    ("France", "France", "Paris", "Paris", "Bonjour", "🇫🇷"),
    ("Spain", "España", "Madrid", "Madrid", "Buenos días", "🇪🇸"),
    ("Ireland", "Éire", "Dublin", "Baile Átha Cliath", "Dia duit", "🇮🇪"),
    ("Sri Lanka", "ශ්‍රී ලංකා", "Sri Jayawardenepura Kotte", "ශ්‍රී ජයවර්ධනපුර කෝට්ටේ", "ආයුබෝවන්", "🇱🇰"),
    ("Cambodia", "កម្ពុជា", "Phnom Penh", "ភ្នំពេញ", "សួស្តី", "🇰🇭"),
)

_BASES = ("barley", "lentils", "potatoes", "rye bread", "rice", "chickpeas", "noodles", "polenta")
_PLANTS = ("leek", "fennel", "beetroot", "spinach", "pumpkin", "cabbage", "aubergine", "peas")
_TWISTS = (
    "lemon",
    "smoked paprika",
    "dill",
    "miso",
    "toasted walnuts",
    "orange zest",
    "cumin",
    "horseradish",
)

_ZOO = {
    "lost property": ("a penguin walked off with my left glove", "my scarf is now part of a nest"),
    "praise": ("the otters did a better concert than the opera", "your tortoise listened to my whole story"),
    "complaint": ("the parrot called my uncle a teapot", "the llama photographed better than I did"),
    "feeding": ("may the capybara have melon on its birthday", "does the owl take its mice to go"),
    "visit": ("can 28 nine-year-olds come on Friday", "is the night tour dark, or very dark"),
}


def haiku(rng: Random, rows: range) -> Columns:
    """Haiku of three lines, joined by slashes as a model was asked to."""
    outputs = [f"{rng.choice(_FIRST)} / {rng.choice(_SECOND)} / {rng.choice(_THIRD)}" for _ in rows]
    return {
        "inputs": [f"Write haiku number {row + 1}; separate its lines by ' / '." for row in rows],
        "outputs": outputs,
        "cumulative_logprobs": [round(-rng.gammavariate(6, 1.5), 4) for _ in rows],
    }


def greetings(_rng: Random, rows: range) -> Columns:
    """Greetings and capitals in some 15 scripts, with flags: texts that a wrong encoding breaks."""
    columns: Columns = {"inputs": [], "outputs": [], "cumulative_logprobs": []}
    for row in rows:
        country, own, capital, local, hello, flag = _COUNTRIES[row % len(_COUNTRIES)]
        question, answer = (
            (f"Greet somebody from {country}.", f"{hello}! {flag}"),
            (
                f"What is the capital of {country}?",
                f"The capital of {country} is {capital} ({local}). {flag}",
            ),
            (f"What do people call {country} themselves?", f"{own} {flag}"),
            (
                f"Write a postcard from {capital}.",
                f"{hello}!\nThe weather in {local} is lovely. ☀️🍉\nYours, {flag}",
            ),
        )[row // len(_COUNTRIES) % 4]
        columns["inputs"].append(question)
        columns["outputs"].append(answer)
        columns["cumulative_logprobs"].append(-round(0.05 + (row * 37 % 100) / 80, 4))
    return columns


def recipes(rng: Random, rows: range) -> Columns:
    """Recipes with numbered lines, fractions and quotes: long cells to open and wrap."""
    columns: Columns = {"inputs": [], "outputs": [], "cumulative_logprobs": []}
    for _ in rows:
        base, plant, twist = rng.choice(_BASES), rng.choice(_PLANTS), rng.choice(_TWISTS)
        grams, minutes = rng.randrange(150, 400, 25), rng.randrange(12, 50)
        columns["inputs"].append(f"Invent a simple recipe with {base}, {plant} and {twist}.")
        columns["outputs"].append(
            f"{plant.capitalize()} with {base} and {twist}\n\n"
            f"1. Cook {grams} g {base} until tender, about {minutes} minutes.\n"
            f'2. Fry the {plant} in 1½ spoons of oil; keep the lid "almost" on.\n'
            f"3. Stir in the {twist}, taste, add salt, taste again.\n\n"
            f"Serves {rng.randint(2, 6)}. Better the next day.",
        )
        columns["cumulative_logprobs"].append(round(-rng.gammavariate(20, 1.4), 4))
    return columns


def zoo(rng: Random, rows: range) -> Columns:
    """Letters to a zoo, sorted into departments, with a ``confidence_score`` for each row."""
    columns: Columns = {
        "letter_id": [],
        "inputs": [],
        "outputs": [],
        "cumulative_logprobs": [],
        "confidence_score": [],
    }
    departments = list(_ZOO)
    for row in rows:
        department = rng.choice(departments)
        score = round(rng.betavariate(9, 1.8), 4)
        columns["letter_id"].append(1000 + row)
        columns["inputs"].append(
            f"Dear zoo, {rng.choice(_ZOO[department])}. {rng.choice(('Kind regards', 'Yours truly', 'Please hurry'))}, "
            f"visitor {rng.randint(10, 9999)}",
        )
        columns["outputs"].append(department)
        columns["cumulative_logprobs"].append(round(-rng.expovariate(6) - 0.001, 4))
        columns["confidence_score"].append(score)
    return columns
