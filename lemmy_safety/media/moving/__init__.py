"""Animations and videos: which of their frames are looked at, and what a viewer sees of each.

``animation`` and ``video`` are the two ways in; ``sampling`` chooses frames for both. Animations: ``animation_frames``
are the frames as stored, ``animation_plan`` which of them to decode when time is short, ``animation_pictures`` a composed
one. Videos: ``video_streams`` takes the file apart, ``video_tracks`` are its streams by their packets, ``video_looking``
decodes stretches of them, ``video_pictures`` makes a frame what a viewer sees.
"""
