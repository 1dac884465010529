"""Part 3: how far can test loss exceed training loss, given only the predictions?"""
