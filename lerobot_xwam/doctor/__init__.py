"""`lerobot-xwam doctor`: what in a dataset would silently spoil a training, and what to do about it.

dataset_folder, rows, footage   what the dataset holds, read without changing anything
patient                         all of it together, with the policy that is to be trained
checks/                         one function per question; checks/table.py names them
examination                     asks all questions -> Report
words, drawing, html, command   the report as text, picture, page, and the command to type next
"""
