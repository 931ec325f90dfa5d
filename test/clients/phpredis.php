<?php
/** phpredis's RedisCluster against dkv, driven by script-clients.ts: `run CONTEXT` or `write LOAD`. */

function connect(array $ports): RedisCluster
{
    $seeds = array_map(fn($port) => "127.0.0.1:$port", $ports);
    return new RedisCluster(null, $seeds, 2, 2);
}

function equal($actual, $expected): void
{
    if ($actual === $expected) return;
    throw new Exception(substr(json_encode($actual) . " instead of " . json_encode($expected), 0, 300));
}

$features = [
    "singles" => function ($client, $context) {
        foreach ($context["keys"] as $key) equal($client->set($key, $key), true);
        foreach ($context["keys"] as $key) equal($client->get($key), $key);
    },
    "MULTI" => function ($client, $context) {
        foreach ($context["tags"] as $tag) {
            $client->multi();
            $client->set("m{{$tag}}", "1");
            $client->incr("m{{$tag}}");
            equal($client->exec(), [true, 2]);
        }
    },
    "WATCH" => function ($client, $context) {
        $other = connect($context["ports"]);
        foreach ($context["tags"] as $tag) {
            $client->watch("w{{$tag}}");
            $other->set("w{{$tag}}", "2");
            $client->multi();
            $client->set("w{{$tag}}", "3");
            // What one node answers is in an array of nodes.
            equal($client->exec(), [false]);
            equal($client->get("w{{$tag}}"), "2");
        }
    },
    "tagged keys" => function ($client, $context) {
        foreach ($context["tags"] as $tag) {
            equal($client->mset(["a{{$tag}}" => "1", "b{{$tag}}" => "2"]), true);
            equal($client->mget(["b{{$tag}}", "a{{$tag}}"]), ["2", "1"]);
            equal($client->del("b{{$tag}}", "a{{$tag}}"), 2);
        }
    },
    "untagged keys" => function ($client, $context) {
        equal($client->mget($context["present"]), $context["present"]);
    },
    "replica reads" => function ($client, $context) {
        $client->setOption(RedisCluster::OPT_SLAVE_FAILOVER, RedisCluster::FAILOVER_DISTRIBUTE_SLAVES);
        foreach ($context["present"] as $key) equal($client->get($key), $key);
    },
    "SCAN" => function ($client, $context) {
        $found = [];
        foreach ($client->_masters() as $node) {
            $cursor = null;
            do {
                $keys = $client->scan($cursor, $node, $context["presentPrefix"] . "*", 100);
                foreach ($keys ?: [] as $key) $found[$key] = true;
            } while ($cursor > 0);
        }
        $found = array_keys($found);
        $expected = $context["present"];
        sort($found);
        sort($expected);
        equal($found, $expected);
    },
];

function say(array $fields): void
{
    echo json_encode($fields), "\n";
}

function run(array $features, array $context): void
{
    foreach ($features as $feature => $check) {
        try {
            $check(connect($context["ports"]), $context);
            say(["feature" => $feature, "error" => ""]);
        } catch (Throwable $error) {
            say(["feature" => $feature, "error" => $error->getMessage() ?: get_class($error)]);
        }
    }
}

function write(array $load): void
{
    stream_set_blocking(STDIN, false);
    $client = connect($load["ports"]);
    for ($count = 0; !feof(STDIN); $count++) {
        fread(STDIN, 1);
        $key = $load["prefix"] . $count;
        try {
            if ($client->set($key, $key) !== true) throw new Exception($client->getLastError() ?? "no OK");
            say(["acknowledged" => $key]);
        } catch (Throwable $error) {
            say(["failure" => $error->getMessage() ?: get_class($error)]);
            usleep(5000);
        }
    }
}

$argument = json_decode($argv[2], true);
if ($argv[1] === "run") run($features, $argument);
else write($argument);
