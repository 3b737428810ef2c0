"""Stage two under the name of earlier versions: see `pairalign.dormant`, `pairalign.sensors`, `pairalign.finetune`.

Its modules are found under their old names, see `pairalign.moved`.
"""
