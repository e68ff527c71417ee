"""Foreign datasets -> LeRobotDataset v3 in the universal interface, in parallel and resumable.

settings.py  what decides the output; two runs that differ in it cannot share a folder
episode.py   an episode as any source gives it
authors.py   the authors' layout as a source
videos.py    frames of video files, checked
shards.py    a few episodes -> a small dataset of their own, with a report of what was dropped
merging.py   all shards -> the dataset, its statistics and its report
verifying.py reads a sample of the output back and compares it with the source
convert.py   all of it
"""
