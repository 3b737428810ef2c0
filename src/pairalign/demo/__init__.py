"""`pairalign demo`: the built-in synthetic world, stage one on three kinds of pairs, and its report."""
