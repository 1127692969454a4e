<?php

/*
 * Reads who is where from Redis or MySQL, beside a server with `bindings.store` there:
 *
 *     php bindings.php redis /run/redis/redis.sock [PASSWORD]
 *     php bindings.php mysql /run/mysqld/mysqld.sock [PASSWORD]
 *
 * The keys and tables are those of docs/bindings.md. Whoever is dead for five seconds by the store's own
 * clock counts no more. For Redis it takes the extension php-redis, for MySQL php-mysql.
 */

declare(strict_types=1);

const LEASE_MS = 5000;

/** Users by their uids: connections, rooms, sessions. */
function ofRedis(string $socket, string $password): array
{
    $redis = new Redis();
    $redis->connect($socket);
    if ($password !== '') {
        $redis->auth($password);
    }
    [$seconds, $micros] = $redis->time();
    $now = (int) $seconds * 1000 + intdiv((int) $micros, 1000);
    $users = [];
    foreach ($redis->hGetAll('tidings:nodes') as $generation) {
        if ((int) $redis->hGet("tidings:n:$generation", 'beat_at') + LEASE_MS < $now) {
            continue;
        }
        $connections = $redis->hGetAll("tidings:c:$generation");
        ksort($connections);
        foreach ($connections as $fd => $uid) {
            $user = &$users[$uid];
            $user ??= ['connections' => 0, 'rooms' => [], 'sessions' => []];
            $user['connections']++;
            $user['rooms'] += $redis->hGetAll("tidings:j:$uid:$generation");
            // GENERATION:SINCE:SESSION
            $session = explode(':', (string) $redis->hGet("tidings:u:$uid", (string) $fd), 3)[2] ?? '';
            if ($session !== '') {
                $user['sessions'][] = $session;
            }
            unset($user);
        }
    }
    return $users;
}

function ofMySql(string $socket, string $password): array
{
    $mysql = new PDO("mysql:unix_socket=$socket;dbname=chat;charset=utf8mb4", 'tidings', $password);
    $alive = 'JOIN tidings_nodes USING (node, generation)
        WHERE beat_at > UTC_TIMESTAMP(3) - INTERVAL ' . LEASE_MS / 1000 . ' SECOND';
    $users = [];
    foreach ($mysql->query("SELECT uid, session FROM tidings_connections $alive ORDER BY fd") as $row) {
        $user = &$users[$row['uid']];
        $user ??= ['connections' => 0, 'rooms' => [], 'sessions' => []];
        $user['connections']++;
        if ($row['session'] !== null) {
            $user['sessions'][] = $row['session'];
        }
        unset($user);
    }
    foreach ($mysql->query("SELECT uid, room FROM tidings_rooms $alive") as $row) {
        if (isset($users[$row['uid']])) {
            $users[$row['uid']]['rooms'][$row['room']] = true;
        }
    }
    return $users;
}

[$engine, $socket, $password] = array_slice($argv, 1) + ['', '', ''];
$users = match ($engine) {
    'redis' => ofRedis($socket, $password),
    'mysql' => ofMySql($socket, $password),
    default => exit("php bindings.php redis|mysql SOCKET [PASSWORD]\n"),
};
ksort($users, SORT_STRING);
$rooms = [];
foreach ($users as $uid => $user) {
    ksort($user['rooms'], SORT_STRING);
    $names = array_keys($user['rooms']);
    $many = $user['connections'] === 1 ? '' : 's';
    echo "$uid: {$user['connections']} connection$many, in ", implode(', ', $names);
    foreach ($user['sessions'] as $session) {
        echo "; session $session";
    }
    echo "\n";
    foreach ($names as $name) {
        $rooms[$name][] = $uid;
    }
}
ksort($rooms, SORT_STRING);
foreach ($rooms as $name => $uids) {
    echo "room $name: ", implode(', ', $uids), "\n";
}
