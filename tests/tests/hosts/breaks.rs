//! Where each package breaks off after it has changed something (`broken.rs`), killed first and failing then. `COMING` are breaks of an
//! installation, the others of an update.

use crate::broken::Break;

/// nginx has the new file when it is asked whether it takes it, and the old one is put back; then it is not told of the new one.
pub(crate) const NGINX: &[Break] = &[
    Break {
        program: "/usr/sbin/nginx",
        calls: "-t",
        spared: 1,
        with: &[("max_body", "10m")],
        says: "nginx does not take these settings, so they are as they were",
        killed: "systemctl -q is-active nginx",
        meanwhile: "systemctl -q is-active nginx; grep -q 'client_max_body_size 8m' /etc/nginx/conf.d/settled.conf",
        then: "nginx -T 2>/dev/null | grep -q 'client_max_body_size 10m'",
        ..AT
    },
    Break {
        calls: "'reload-or-restart nginx'",
        with: &[("max_body", "11m")],
        says: "nginx does not start; its last messages stand above",
        meanwhile: "systemctl -q is-active nginx",
        then: "nginx -T 2>/dev/null | grep -q 'client_max_body_size 11m'",
        ..AT
    },
];

/// What runs goes on as it is.
pub(crate) const PHP: &[Break] = &[Break {
    calls: "'reload-or-restart php'*",
    with: &[("extensions", "curl mbstring mysql"), ("memory_limit", "512M")],
    says: "does not start; its last messages stand above",
    meanwhile: "systemctl -q is-active 'php*-fpm.service'",
    then: "php -m | grep -qx curl; php -i | grep -q 'memory_limit => 512M'",
    ..AT
}];

/// The new pair is there, and the old one counts.
pub(crate) const TLS_CERTIFICATE: &[Break] = &[Break {
    program: "/usr/bin/mv",
    calls: "'-T /etc/ssl/settled/'*",
    with: &[("domains", "other.test")],
    meanwhile: "cd /etc/ssl/settled/tls_certificate/live; openssl x509 -in fullchain.pem -noout -checkhost www.site.test | grep -q 'does match'",
    then: "cd /etc/ssl/settled/tls_certificate/live; openssl x509 -in fullchain.pem -noout -checkhost other.test | grep -q 'does match'; [ $(ls -d /etc/ssl/settled/tls_certificate/[0-9]* | wc -l) = 2 ]",
    ..AT
}];

/// The same of one that an authority has signed.
pub(crate) const TLS_FROM_AUTHORITY: &[Break] = &[Break {
    program: "/usr/bin/mv",
    calls: "'-T /etc/ssl/settled/'*",
    with: &[("domains", "www.acme.test")],
    meanwhile: "cd /etc/ssl/settled/tls_certificate/live; openssl x509 -in fullchain.pem -noout -checkhost acme.test | grep -q 'does match'",
    then: "cd /etc/ssl/settled/tls_certificate/live; openssl x509 -in fullchain.pem -noout -checkhost acme.test | grep -q 'NOT match'",
    ..AT
}];

/// The site is written, and nginx serves it as it was.
pub(crate) const SITE: &[Break] = &[Break {
    calls: "'reload nginx'",
    with: &[("root", "/srv/other")],
    meanwhile: "page site.test | grep -q 'the sum is 2'",
    then: "page site.test | grep -q 'the product is 6'",
    ..AT
}];

/// With the settings before it starts, and serves.
pub(crate) const MARIADB: &[Break] = &[Break {
    calls: "'reload-or-restart mariadb'",
    with: &[("max_connections", "70")],
    says: "MariaDB does not start with these settings, so it runs with those before",
    meanwhile: "mariadb -Ne 'SELECT @@max_connections' | grep -qx 60",
    then: "mariadb -Ne 'SELECT @@max_connections' | grep -qx 70",
    ..AT
}];

/// What comes with it serves, as the distribution has it.
pub(crate) const MARIADB_COMING: Break = Break {
    calls: "'reload-or-restart mariadb'",
    says: "MariaDB does not start with these settings, so it runs with those before",
    meanwhile: "mariadb -Ne 'SELECT @@max_connections' | grep -qx 151",
    ..AT
};

/// One statement, which the server carries out or does not: so nothing is in its middle, but the answer may be lost.
pub(crate) const DATABASE: &[Break] = &[Break {
    program: "/usr/bin/mariadb",
    calls: "*'ALTER DATABASE'*",
    late: true,
    with: &[("charset", "ascii")],
    meanwhile: "mariadb shop -Ne 'SELECT @@character_set_database' | grep -qx ascii",
    then: "mariadb shop -Ne 'SELECT @@character_set_database' | grep -qx ascii",
    ..AT
}];

/// The same of one that is made. Its note says that it is ours only where it was not told that it is not.
pub(crate) const DATABASE_COMING: Break = Break {
    program: "/usr/bin/mariadb",
    calls: "*'CREATE DATABASE'*",
    killed: "! mariadb shop -e 'SELECT 1'",
    meanwhile: "! mariadb shop -e 'SELECT 1'; [ ! -e /var/lib/settled-packages/databases/shop ]",
    ..AT
};

/// The new rights are there, and the old ones are not taken back yet: who works with the database goes on.
pub(crate) const DATABASE_USER: &[Break] = &[Break {
    program: "/usr/bin/mariadb",
    calls: "*REVOKE*",
    with: &[("database", "other")],
    meanwhile: "mariadb -ukeeper '-popen'\\''sesame\"\\' shop -e 'SELECT * FROM things'; mariadb -ukeeper '-popen'\\''sesame\"\\' other -e 'SELECT 1'",
    then: "! mariadb -ukeeper '-popen'\\''sesame\"\\' shop -e 'SELECT * FROM things'; mariadb -ukeeper '-popen'\\''sesame\"\\' other -e 'SELECT 1'",
    ..AT
}];

/// The user is there, and may do nothing yet.
pub(crate) const DATABASE_USER_COMING: Break = Break {
    program: "/usr/bin/mariadb",
    calls: "*GRANT*",
    meanwhile: "mariadb -ukeeper '-popen'\\''sesame\"\\' -e 'SELECT 1'; ! mariadb -ukeeper '-popen'\\''sesame\"\\' shop -e 'SELECT 1'",
    ..AT
};

/// With the settings before it starts, and has its data.
pub(crate) const REDIS: &[Break] = &[Break {
    calls: "'reload-or-restart redis-server'",
    with: &[("max_memory_mb", "48"), ("append_only", "false")],
    says: "Redis does not start with these settings, so it runs with those before",
    meanwhile: "redis-cli -p 6380 -a 'open'\\''sesame\"\\' config get maxmemory | grep -qx 33554432; redis-cli -p 6380 -a 'open'\\''sesame\"\\' get thing | grep -qx kept",
    then: "redis-cli -p 6380 -a 'open'\\''sesame\"\\' config get maxmemory | grep -qx 50331648; redis-cli -p 6380 -a 'open'\\''sesame\"\\' get thing | grep -qx kept",
    ..AT
}];

/// What comes with it serves, as the distribution has it.
pub(crate) const REDIS_COMING: Break = Break {
    calls: "'reload-or-restart redis-server'",
    says: "Redis does not start with these settings, so it runs with those before",
    meanwhile: "redis-cli ping | grep -qx PONG",
    ..AT
};

/// The package is unpacked, and not configured: what dpkg has left is mended before anything else, and the next attempt goes on from there.
pub(crate) const APT_PACKAGE_COMING: Break = Break {
    program: "/usr/bin/dpkg",
    calls: "*' --configure '*",
    once: true,
    meanwhile: "dpkg-query -W cron",
    ..AT
};

/// That it is to be held is noted before apt is told.
pub(crate) const APT_PACKAGE: &[Break] = &[Break {
    program: "/usr/bin/apt-mark",
    calls: "*' hold '*",
    with: &[("hold", "true")],
    meanwhile: "systemctl -q is-active cron; ! apt-mark showhold | grep -q cron",
    then: "apt-mark showhold | grep -qx cron",
    ..AT
}];

/// One of two policies has changed, and the firewall lets SSH in.
pub(crate) const FIREWALL: &[Break] = &[Break {
    program: "/usr/sbin/ufw",
    calls: "'default '*' outgoing'",
    with: &[("incoming", "deny"), ("outgoing", "reject")],
    meanwhile: "ufw status verbose | grep -q 'Default: deny (incoming), allow (outgoing)'",
    then: "ufw status verbose | grep -q 'Default: deny (incoming), reject (outgoing)'",
    ..AT
}];

/// Both rules are there: the old one is deleted last.
pub(crate) const FIREWALL_RULE: &[Break] = &[Break {
    program: "/usr/sbin/ufw",
    calls: "'delete '*",
    with: &[("port", "8081")],
    meanwhile: "ufw status | grep -qE '^8080 +LIMIT'; ufw status | grep -qE '^8081 +LIMIT'",
    then: "! ufw status | grep -q '^8080'; ufw status | grep -qE '^8081 +LIMIT'",
    ..AT
}];

/// The command is written; cron has the old times.
pub(crate) const SCHEDULED_TASK: &[Break] = &[Break {
    program: "/usr/bin/mv",
    calls: "*' /etc/cron.d/settled-scheduled_task'",
    with: &[("expression", "7 0 1 1 *"), ("command", "date >>/var/tmp/other")],
    meanwhile: "grep -q '^5 0 1 1 [*] root ' /etc/cron.d/settled-scheduled_task; grep -q other /var/lib/settled-packages/tasks/scheduled_task/command",
    then: "grep -q '^7 0 1 1 [*] root ' /etc/cron.d/settled-scheduled_task",
    ..AT
}];

/// What a script leaves behind is its author's: here a program that it calls is broken.
pub(crate) const SCRIPT: &[Break] = &[Break {
    program: "/usr/bin/chmod",
    calls: "'600 /srv/mine'",
    with: &[(
        "setup",
        "[ \"$(stat -c %a /srv/mine)\" = 600 ] || { echo three >/srv/mine; chmod 600 /srv/mine; }",
    )],
    says: "the script ended with exit code 9",
    meanwhile: "grep -qx three /srv/mine",
    then: "[ \"$(stat -c '%a' /srv/mine)\" = 600 ]",
    ..AT
}];

/// The program is written, and supervisor has not read it: what runs goes on.
pub(crate) const SUPERVISOR_PROGRAM: &[Break] = &[Break {
    program: "/usr/bin/supervisorctl",
    calls: "'update '*",
    with: &[("processes", "3")],
    meanwhile: "[ \"$(pgrep -cxf 'sleep 1000')\" = 2 ]",
    then: "[ \"$(pgrep -cxf 'sleep 1000')\" = 3 ]",
    ..AT
}];

/// supervisor is there, is said not to run, and does not know of the program.
pub(crate) const SUPERVISOR_PROGRAM_COMING: Break = Break {
    calls: "'-q is-active supervisor'",
    says: "supervisor does not run on this server",
    meanwhile: "command -v supervisorctl; ! pgrep -xf 'sleep 1000'",
    ..AT
};

/// The release is complete, and the one before is current.
pub(crate) const DEPLOYMENT: &[Break] = &[Break {
    program: "/usr/bin/mv",
    calls: "'-T /srv/app/'*' /srv/app/current'",
    with: &[("release", "four")],
    meanwhile: "[ \"$(readlink /srv/app/current)\" = releases/one ]; [ -e /srv/app/releases/four/page ]",
    then: "[ \"$(readlink /srv/app/current)\" = releases/four ]",
    ..AT
}];

const AT: Break = Break {
    program: "/usr/bin/systemctl",
    calls: "",
    spared: 0,
    late: false,
    once: false,
    killed: "",
    with: &[],
    says: "",
    meanwhile: "",
    then: "",
};
