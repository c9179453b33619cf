"""Sends uploads without credentials over kept connections with `requests`, which sends all of a body first.

put.py URL CA TIMES SIZE...: prints how many answers were lost, and why on standard error.
"""

import sys

import requests

url, ca, times, *sizes = sys.argv[1:]
session = requests.Session()
# The environment's certificates would go before these.
session.trust_env = False
session.verify = ca
lost = 0
for number in range(int(times)):
    size = int(sizes[number % len(sizes)])
    try:
        answer = session.put(url, data=b"x" * size)
        if answer.status_code != 401 or "errors" not in answer.json():
            raise RuntimeError(answer.status_code)
    except Exception as error:
        lost += 1
        print(number, size, type(error).__name__, error, file=sys.stderr)
print("lost", lost)
