"""The synthesis: what do the measures of the four parts say about the same examples and the same network?"""
