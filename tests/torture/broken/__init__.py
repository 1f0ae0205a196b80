"""Parts that are broken on purpose, for controls: each runs the real part with one promise taken away.

Nothing of this ships; a control starts one of these modules in the place of the part.
"""
