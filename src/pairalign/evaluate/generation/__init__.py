"""Measuring what a model says of a signal: its adjectives against a reference, and a judge's score.

Nothing is imported here, and nothing here knows a model: texts come in, scores go out.

- `words`: stems and phrases of a text; `keywords`: hits of one description, precision, recall and F1 over many
- `chance`: what answering without the sensor scores
- `endpoint`, `judge`: scores from 1 to 10 by a chat-completions endpoint, cached
- `published`: the measurements in papers that this stands in for
- `run`, `page`: everything of a set of answers as JSON, a table and a page of examples
"""
