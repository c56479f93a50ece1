"""A tiny agent for tests: speaks the agent's protocol and misbehaves when asked."""

import json
import os
import sys
import time
from pathlib import Path


def say(**document: object) -> None:
    print(json.dumps(document), flush=True)


say(ready=True, pid=os.getpid(), repos=sys.argv[1:])
held = []
for line in sys.stdin:
    request = json.loads(line)
    number, op, args = request["id"], request["op"], request["args"]
    if op == "echo":
        say(id=number, ok=True, result=args)
    elif op == "hold":  # answered, backwards, once three are held
        held.append(number)
        if len(held) == 3:
            for each in reversed(held):
                say(id=each, ok=True, result=each)
    elif op == "die":
        print("a bad end", file=sys.stderr, flush=True)
        os._exit(9)
    elif op == "hang":
        continue
    elif op == "block":
        time.sleep(600)
    elif op == "babble":
        print("INFO this is no protocol", flush=True)
        print("[1, 2]", flush=True)
        say(id=10**9, ok=True, result="nobody asked")
        say(id=number, ok=True, result="after all")
    elif op == "large":
        say(id=number, ok=True, result="x" * args["size"])
    elif op == "fail":
        say(id=number, ok=False, error=args)
    elif op == "answer":
        say(id=number, ok=True, result=args["result"])
    elif op == "chain":
        missing = {"missing-run"}
        chains = {
            chain["name"]: {"children": [c for c in chain["children"] if c not in missing]}
            for chain in args["chains"]
        }
        with Path(os.environ["CHAIN_LOG"]).open("a") as out:
            out.write(json.dumps(args) + "\n")
        say(id=number, ok=True, result={"chains": chains})
