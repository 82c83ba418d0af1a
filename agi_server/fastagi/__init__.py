"""The FastAGI wire: bytes to requests, answers to commands, and the sockets between.

Source of every protocol fact here: Asterisk, res/res_agi.c, main/app.c and main/pbx_variables.c.
"""
