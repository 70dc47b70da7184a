"""Animations and videos: which of their frames are examined, and what a viewer sees of each.

``animation`` and ``video`` are the two entry points; ``sampling`` chooses frames for both. Animations:
``animation_frames``
are the frames as stored, ``animation_plan`` says which of them to decode if time is short, ``animation_pictures`` is a
composed one. Videos: ``video_streams`` opens the file, ``video_tracks`` are its streams by their packets,
``video_looking`` decodes stretches of them, ``video_pictures`` turns a frame into what a viewer sees.
"""
