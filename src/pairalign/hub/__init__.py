"""Sensor packs and aligned runs on the Hugging Face Hub: pushed with a card, found by `ORG/NAME` wherever a folder is.

SensorPack("packs/touch").push_to_hub("org/touch-pack")
model, processor = SensorPack.from_pretrained("org/touch-pack").load()
"""
