"""`pairalign try PACK`: a page on which a person drops a signal, asks, and sees whether the model uses it."""
