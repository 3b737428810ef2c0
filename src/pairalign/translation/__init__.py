"""Drawing one modality from another: what an aligned run knows of a touch, as a picture.

Three ways: the decoders that stage one trained for its reconstruction term, the nearest stored sample, and a pretrained
decoder of a frozen tower's space.

Note:
    A drawing can only show what both sides see; what the source does not know is filled in from the target's own
    samples, and looks just as certain.
"""

from __future__ import annotations
