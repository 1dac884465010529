"""Part 4: when is a teacher's supervision simple enough to help a student?"""
