"""Speech with known phoneme times, alone and among other sounds, for training and for benchmarks.

    python -m sonic_ext.train.corpus FOLDER --minutes 120

makes clean recordings (`speech`, by the tools in `synthesizers`; `sounds` says what a recording is) and goes
on where it was stopped. What they are heard among is made while training and never stored: babble of the
other speakers, music and songs that code plays (`music`, `singing`), other microphones, rooms, noise and
codecs (`acoustics`). `mixtures.streams` puts all of it together; phoneme times go with every stream.
Everything is drawn from seeds. No recording of a person, and no music of anybody, is in it.
"""
