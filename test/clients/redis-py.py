"""redis-py's RedisCluster against dkv, driven by script-clients.ts: `run CONTEXT` or `write LOAD`."""
import json
import sys
import threading

from redis.cluster import ClusterNode, RedisCluster


def connect(ports, **options):
    nodes = [ClusterNode("127.0.0.1", port) for port in ports]
    return RedisCluster(startup_nodes=nodes, decode_responses=True, **options)


def equal(actual, expected):
    if actual != expected:
        raise Exception(f"{actual} instead of {expected}"[:300])


def singles(client, context):
    for key in context["keys"]:
        equal(client.set(key, key), True)
    for key in context["keys"]:
        equal(client.get(key), key)


def pipelines(client, context):
    for tag in context["tags"]:
        pipeline = client.pipeline()
        for i in range(10):
            pipeline.set(f"p{{{tag}}}{i}", i)
            pipeline.incr(f"p{{{tag}}}{i}")
        equal(pipeline.execute()[-1], 10)


def mixed_pipelines(client, context):
    pipeline = client.pipeline()
    for key in context["keys"]:
        pipeline.set(f"mixed:{key}", key)
    equal(pipeline.execute(), [True] * len(context["keys"]))


def tagged_keys(client, context):
    for tag in context["tags"]:
        equal(client.mset({f"a{{{tag}}}": "1", f"b{{{tag}}}": "2"}), True)
        equal(client.mget(f"b{{{tag}}}", f"a{{{tag}}}"), ["2", "1"])
        equal(client.delete(f"b{{{tag}}}", f"a{{{tag}}}"), 2)


def untagged_keys(client, context):
    equal(client.mget_nonatomic(context["present"]), context["present"])


def replica_reads(_client, context):
    client = connect(context["ports"], read_from_replicas=True)
    for key in context["present"]:
        equal(client.get(key), key)


def scan(client, context):
    found = client.scan_iter(match=context["presentPrefix"] + "*", count=100)
    equal(sorted(set(found)), sorted(context["present"]))


FEATURES = {
    "singles": singles,
    "pipelines": pipelines,
    "mixed pipelines": mixed_pipelines,
    "tagged keys": tagged_keys,
    "untagged keys": untagged_keys,
    "replica reads": replica_reads,
    "SCAN": scan,
}


def say(**fields):
    print(json.dumps(fields), flush=True)


def run(context):
    for feature, check in FEATURES.items():
        try:
            check(connect(context["ports"]), context)
            say(feature=feature, error="")
        except Exception as error:
            say(feature=feature, error=str(error) or type(error).__name__)


def write(load):
    stopped = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stopped.set()), daemon=True).start()
    client = connect(load["ports"])
    count = 0
    while not stopped.is_set():
        key = f"{load['prefix']}{count}"
        count += 1
        try:
            client.set(key, key)
            say(acknowledged=key)
        except Exception as error:
            say(failure=str(error) or type(error).__name__)
            stopped.wait(0.005)


{"run": run, "write": write}[sys.argv[1]](json.loads(sys.argv[2]))
