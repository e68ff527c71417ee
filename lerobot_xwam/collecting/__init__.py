"""Demonstrations from the scripted experts: worker processes simulate, one writer makes the dataset.

settings.py     what is collected; two runs that differ in it cannot share a folder
disturbance.py  pushes the hand now and then, so that demonstrations show how to recover
episode.py      one attempt of the expert: observations and clean actions
staging.py      finished episodes on disk, each in a file of its own
schedule.py     which seed is tried next, and which episodes make the dataset
workers.py      the simulating processes
dataset.py      staged episodes -> LeRobotDataset
collect.py      all of it, going on where a killed run stopped
"""
