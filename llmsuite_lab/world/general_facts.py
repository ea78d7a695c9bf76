"""Facts that any language model has read many times: the control beside facts that no model can have read (`world.handbook`).

A question form that scores nothing here says nothing about what a model knows: so the two are asked alike, and the difference counts. The answers are
short and of common knowledge; where two forms are usual, both count. `EXAMPLES` show the form and are never asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Fact:
    """A question and the answers that count as right."""

    text: str
    answers: tuple[str, ...]


_CAPITALS = {
    "France": "Paris", "Spain": "Madrid", "Germany": "Berlin", "Japan": "Tokyo", "Russia": "Moscow", "China": "Beijing", "Egypt": "Cairo",
    "Greece": "Athens", "Poland": "Warsaw", "Sweden": "Stockholm", "Austria": "Vienna", "Hungary": "Budapest", "Cuba": "Havana", "Canada": "Ottawa",
    "Ireland": "Dublin", "Kenya": "Nairobi", "Thailand": "Bangkok", "Peru": "Lima",
}  # fmt: skip
_OTHERS = [
    ("Which planet is known as the red planet?", "Mars"),
    ("Which planet is the largest in the solar system?", "Jupiter"),
    ("Which planet is closest to the sun?", "Mercury"),
    ("What is the chemical symbol of oxygen?", "O"),
    ("What is the chemical symbol of gold?", "Au"),
    ("What is the chemical symbol of iron?", "Fe"),
    ("What is the chemical symbol of hydrogen?", "H"),
    ("What is the chemical formula of water?", "H2O"),
    ("How many days are in a week?", "7"),
    ("How many months are in a year?", "12"),
    ("How many minutes are in an hour?", "60"),
    ("How many sides does a triangle have?", "3"),
    ("How many legs does a spider have?", "8"),
    ("How many continents are there?", "7"),
    ("Who wrote Romeo and Juliet?", "William Shakespeare"),
    ("Who painted the Mona Lisa?", "Leonardo da Vinci"),
    ("Who developed the theory of relativity?", "Albert Einstein"),
    ("Who was the first president of the United States?", "George Washington"),
    ("Who wrote the novel Oliver Twist?", "Charles Dickens"),
    ("Which ocean is the largest?", "Pacific Ocean"),
    ("Which continent is Brazil in?", "South America"),
    ("Which continent is Nigeria in?", "Africa"),
    ("Which animal is the largest on Earth?", "blue whale"),
    ("Which gas do plants take in from the air?", "carbon dioxide"),
    ("Which language is spoken in Brazil?", "Portuguese"),
    ("Which language is spoken in Mexico?", "Spanish"),
    ("What is the currency of Japan?", "yen"),
    ("What is the currency of India?", "rupee"),
    ("In which country is the Eiffel Tower?", "France"),
    ("In which country is the Great Wall?", "China"),
    ("What do bees make?", "honey"),
    ("What is the opposite of hot?", "cold"),
    ("What colour is the sky on a clear day?", "blue"),
    ("What colour is grass?", "green"),
    ("What is frozen water called?", "ice"),
    ("Which organ pumps blood through the body?", "heart"),
    ("Which month comes after June?", "July"),
    ("Which day comes after Monday?", "Tuesday"),
]
_ALSO = {"7": "seven", "12": "twelve", "60": "sixty", "3": "three", "8": "eight", "Pacific Ocean": "Pacific", "William Shakespeare": "Shakespeare",
         "Albert Einstein": "Einstein", "Leonardo da Vinci": "da Vinci", "Charles Dickens": "Dickens"}  # fmt: skip
EXAMPLES = (
    ("What is the capital of Italy?", "Rome"),
    ("Who wrote Hamlet?", "William Shakespeare"),
    ("What colour is snow?", "white"),
    ("How many hours are in a day?", "24"),
)


def facts() -> list[Fact]:
    """All facts, a capital and another by turns as far as they go, so that any first part of the list is mixed."""
    capitals = [(f"What is the capital of {country}?", capital) for country, capital in _CAPITALS.items()]
    mixed = [pair for both in zip(capitals, _OTHERS) for pair in both] + _OTHERS[len(capitals) :]
    return [Fact(question, (answer, *([_ALSO[answer]] if answer in _ALSO else []))) for question, answer in mixed]


def prompt(question: str, examples: Sequence[tuple[str, str]] = EXAMPLES) -> str:
    """`examples` (question, answer) in one form, then the question in the same form, up to where the answer begins."""
    return "".join(f"Question: {asked}\nAnswer: {answer}\n\n" for asked, answer in examples) + f"Question: {question}\nAnswer:"
