"""The paper, in torch only: no LeRobot, no cameras, no files.

types        what travels between the parts
sizes        how large a network is, and how its tokens are laid out
noise        times, the asynchronous law, the forward process
rope layers  the bricks
transformer  trunk, depth branch, heads
one_size     which batches are computed compiled
losses       prediction -> (loss, logs)
schedule     the grid of noise levels and the UniPC solver
sampler      denoise_actions -> Draft, finish_video -> Rollout
"""
