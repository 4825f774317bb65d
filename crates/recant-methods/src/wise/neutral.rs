//! Neutral texts: sentences about nobody, and names of nobody in particular, which no edit should reach.

/// Texts that stand in for locality prompts when the user asks for it (`neutral=true`).
pub(super) const NEUTRAL: [&str; 24] = [
    "The weather was cold that year, and the river froze before",
    "In the morning the shop on the corner opens at",
    "She put the cup on the table and looked out of the",
    "A good recipe begins with fresh vegetables and a little",
    "The train was late again because of the",
    "Most of the houses in this street were built of",
    "It is easier to begin a long journey than to",
    "The committee met twice a week to talk about the",
    "Water boils at a lower temperature on a high",
    "He folded the letter and put it back into the",
    "On the third day the rain stopped and the",
    "The museum is closed on Mondays and on public",
    "To open the window, turn the handle to the",
    "Several children were playing near the old",
    "The price of bread rose by a few cents in",
    "Before the lecture began, somebody switched off the",
    "The second chapter explains how the machine is",
    "A small boat was tied to the wooden",
    "People who sleep well are often in a better",
    "The road to the village leads through a dark",
    "After dinner they listened to music on the",
    "The garden needs water at least twice a",
    "Nobody knew who had left the umbrella in the",
    "The answer to the last question is on the next",
];

/// Names that stand in a fact's own sentence for its subject.
pub(super) const STRANGERS: [&str; 16] = [
    "Anna Miller",
    "The old bridge",
    "Thomas",
    "Pelham Orwin",
    "A small company",
    "Maria da Costa",
    "Lake Arven",
    "The second volume",
    "Ishikawa",
    "Vera",
    "Northern Railways",
    "George Hamilton Bell",
    "The museum",
    "Kerstin",
    "Mount Dorsal",
    "My neighbour",
];
