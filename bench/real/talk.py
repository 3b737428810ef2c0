"""What is asked in words alone: prompts that are rehearsed, and held-out questions of several kinds.

Note:
    An answer is the word that must stand in a free one. What is rehearsed has no answers, and none of it is asked in a
    held-out set; of some it is a relative.
"""

from __future__ import annotations

SHOWN = (
    "What is your name?", "Tell me something about the sea.", "What do bees make?", "Name a fruit that is yellow.",
    "How do I boil an egg?", "What is a cat?", "Write a short poem about rain.", "What is bread made of?",
    "Why is the sky blue?", "Name three animals that can fly.", "What do you do when you are tired?", "Who was Mozart?",
    "What is the largest ocean? Answer in one short sentence.", "What is a dictionary? Answer in one short sentence.",
    "What season follows winter? Answer in one short sentence.", "What do cows eat? Answer in one short sentence.",
    "How many wheels has a car? Answer in one short sentence.", "Who painted Guernica? Answer in a short sentence.",
    "Where do lions live? Answer in one short sentence.", "What does a baker do? Answer in one short sentence.",
    "What is the opposite of rich? Answer in a short sentence.", "What colour is grass? Answer in one short sentence.",
    "What is the capital of Turkey? Answer in one short sentence.", "What is 6 plus 3? Answer in one short sentence.",
    "Which gas do we breathe in? Answer in one short sentence.", "What is snow? Answer in one short sentence.",
    "What is the plural of tooth? Answer in one short sentence.", "Where do fish live? Answer in one short sentence.",
    "Is the sun a star?", "Can a stone swim?", "Do birds have feathers?", "Is Paris in Asia?",
    "Give me one word for very happy.", "Finish the sentence: the early bird", "Translate 'good morning' to French.",
    "What is the first letter of the alphabet?", "Say hello in one word.", "List two colours.", "What is a robot?",
    "Explain in one sentence what music is.", "How old is the Earth?", "What can I cook with rice?",
    "Which is faster, a car or a bicycle?", "Which is longer, a day or an hour?", "What do plants need to grow?",
    "Give me advice for a job interview.", "What is mathematics?", "Tell me a joke.",
)  # fmt: skip
TRUE = (  # question, answer
    ("Is a cat an animal? Answer yes or no.", "yes"), ("Is fire cold? Answer yes or no.", "no"),
    ("Is ice frozen water? Answer yes or no.", "yes"), ("Can an elephant fly? Answer yes or no.", "no"),
    ("Is gold a metal? Answer yes or no.", "yes"), ("Is a tomato a vehicle? Answer yes or no.", "no"),
    ("Do humans have two eyes? Answer yes or no.", "yes"), ("Is the moon made of cheese? Answer yes or no.", "no"),
    ("Is London in England? Answer yes or no.", "yes"), ("Is seven an even number? Answer yes or no.", "no"),
    ("Is milk white? Answer yes or no.", "yes"), ("Do snakes have legs? Answer yes or no.", "no"),
    ("Is the Earth round? Answer yes or no.", "yes"), ("Is January in summer in Europe? Answer yes or no.", "no"),
    ("Is a violin an instrument? Answer yes or no.", "yes"), ("Can people breathe in water? Answer yes or no.", "no"),
    ("Is water wet? Answer yes or no.", "yes"), ("Is a whale a fish? Answer yes or no.", "no"),
    ("Do trees have leaves? Answer yes or no.", "yes"), ("Is ten less than five? Answer yes or no.", "no"),
)  # fmt: skip
COMPARED = (
    ("Which is larger, an elephant or a mouse?", "elephant"), ("Which is hotter, ice or fire?", "fire"),
    ("Which is heavier, a feather or a truck?", "truck"), ("Which is taller, a tree or a flower?", "tree"),
    ("Which is faster, a snail or a horse?", "horse"), ("Which is older, a baby or a grandmother?", "grandmother"),
    ("Which is softer, a pillow or a rock?", "pillow"), ("Which is brighter, the sun or the moon?", "sun"),
    ("Which is larger, a city or a village?", "city"), ("Which is colder, summer or winter?", "winter"),
    ("Which is sweeter, sugar or salt?", "sugar"), ("Which is longer, a year or a month?", "year"),
    ("Which is louder, a whisper or thunder?", "thunder"), ("Which is deeper, a puddle or an ocean?", "ocean"),
    ("Which is sharper, a knife or a spoon?", "knife"), ("Which is more, ten or twenty?", "twenty"),
)  # fmt: skip
WORD = "Answer in one word: "
SENTENCE = "Answer in a short sentence: "
TOLD = (
    "what colour is the sky?", "which animal barks?", "what do we drink?", "what is the opposite of black?",
    "what is the capital of France?", "which day comes after Monday?", "what do birds lay?", "what shines at night?",
    "what do we read?", "which season is cold?", "what do we write with?", "what grows on trees?",
)  # fmt: skip
TURNS = (  # what was said first, what it was answered, what is asked then, a word of the right answer
    ("My name is Anna.", "Nice to meet you, Anna.", "What is my name?", "Anna"),
    ("My dog is called Rex.", "What a nice name for a dog!", "What is my dog called?", "Rex"),
    ("I live in Madrid.", "Madrid is a beautiful city.", "Which city do I live in?", "Madrid"),
    ("My favourite colour is green.", "Green is a lovely colour.", "What is my favourite colour?", "green"),
    ("I have three sisters.", "That must be a lively home.", "How many sisters do I have?", "three"),
    ("I am a teacher.", "Teaching is an important job.", "What is my job?", "teacher"),
    ("I was born in May.", "May is a nice month.", "In which month was I born?", "May"),
    ("My car is red.", "Red cars are easy to see.", "What colour is my car?", "red"),
    ("I play the piano.", "The piano is a wonderful instrument.", "Which instrument do I play?", "piano"),
    ("I would like to visit Japan.", "Japan has a rich culture.", "Which country would I like to visit?", "Japan"),
)
