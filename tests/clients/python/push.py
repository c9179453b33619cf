"""Pushes files with PyPI's `oras`, which sends each before the registry has asked for credentials.

push.py HOST CA USER TOKEN TIMES SIZE...: prints how many pushes were lost, and why on standard error.
"""

import os
import sys
import tempfile

import oras.client
import oras.logger

host, ca, user, token, times, *sizes = sys.argv[1:]
os.environ["REQUESTS_CA_BUNDLE"] = ca
oras.logger.setup_logger(quiet=True)
lost = 0
with tempfile.TemporaryDirectory() as folder:
    for number in range(int(times)):
        path = os.path.join(folder, f"layer-{number}")
        with open(path, "wb") as file:
            file.write(os.urandom(int(sizes[number % len(sizes)])))
        client = oras.client.OrasClient(hostname=host, auth_backend="basic")
        client.auth.set_basic_auth(user, token)
        try:
            target = f"{host}/lib/pushed:{number}"
            answer = client.push(target=target, files=[path], disable_path_validation=True)
            if answer.status_code != 201:
                raise RuntimeError(answer.status_code)
        except Exception as error:
            lost += 1
            print(number, type(error).__name__, error, file=sys.stderr)
print("lost", lost)
