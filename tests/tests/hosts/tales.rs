//! What is special about each package, for its story on a whole host.

use crate::breaks;
use crate::story::{Tale, Trouble};

pub(crate) const NGINX: Tale = Tale {
    package: "nginx",
    parameters: &[("max_body", "4m")],
    there: "systemctl -q is-active nginx; nginx -T 2>/dev/null | grep -q 'client_max_body_size 4m'",
    change: &[("max_body", "8m")],
    changed: "systemctl -q is-active nginx; nginx -T 2>/dev/null | grep -q 'client_max_body_size 8m'",
    paused: "! systemctl -q is-active nginx; ! systemctl -q is-enabled nginx",
    breaks: breaks::NGINX,
    fails: Trouble {
        with: &[("max_body", "9m")],
        make: "echo nonsense >/etc/nginx/conf.d/wrong.conf",
        says: "the configuration of nginx is broken already",
        mend: "rm /etc/nginx/conf.d/wrong.conf",
    },
    stays: Trouble { says: "host/nginx/nginx is required by host/site/site", ..NOTHING },
    gone: "! command -v nginx; [ ! -e /etc/nginx/conf.d/settled.conf ]",
    ..NO_TALE
};

pub(crate) const PHP: Tale = Tale {
    package: "php",
    parameters: &[("extensions", "curl")],
    there: "systemctl -q is-active 'php*-fpm.service'; php -m | grep -qx curl",
    change: &[("extensions", "mbstring mysql"), ("memory_limit", "256M")],
    changed: "php -m | grep -qx mbstring; php -m | grep -qx mysqli; ! php -m | grep -qx curl; php -i | grep -q 'memory_limit => 256M'",
    breaks: breaks::PHP,
    fails: Trouble {
        with: &[("memory_limit", "64M")],
        make: "for dir in /etc/php/*/fpm/pool.d; do echo nonsense >$dir/wrong.conf; done",
        says: "PHP does not take its configuration",
        mend: "rm /etc/php/*/fpm/pool.d/wrong.conf",
    },
    stays: Trouble { says: "host/php/php is required by host/site/site", ..NOTHING },
    gone: "! command -v php; ! systemctl -q is-active 'php*-fpm.service'",
    ..NO_TALE
};

pub(crate) const TLS_CERTIFICATE: Tale = Tale {
    package: "tls_certificate",
    parameters: &[("domains", "site.test"), ("source", "self_signed"), ("days", "30")],
    there: "cd /etc/ssl/settled/tls_certificate/live; openssl x509 -in fullchain.pem -noout -checkhost site.test | grep -q 'does match'",
    change: &[("domains", "site.test www.site.test")],
    changed: "cd /etc/ssl/settled/tls_certificate/live; openssl x509 -in fullchain.pem -noout -checkhost www.site.test | grep -q 'does match'",
    own: Some(("renew", "[ $(ls -d /etc/ssl/settled/tls_certificate/[0-9]* | wc -l) = 2 ]")),
    breaks: breaks::TLS_CERTIFICATE,
    fails: Trouble {
        with: &[("days", "20")],
        make: READ_ONLY_SSL,
        says: "Read-only file system",
        mend: "umount /etc/ssl/settled",
    },
    stays: Trouble { says: "nginx uses this certificate", ..NOTHING },
    gone: "[ ! -e /etc/ssl/settled ]",
    ..NO_TALE
};

/// An authority that asks for a file at port 80 of whoever wants a certificate, and signs; and nginx, as it is fresh from the distribution.
/// Left alone it rejects one of twenty good requests by chance, to try its clients; two in a row are too much for certbot.
pub(crate) const AUTHORITY: &str = r#"
apt-get -qq update
apt-get -qq -y --no-install-recommends install pebble openssl ca-certificates >/dev/null 2>&1
mkdir /etc/pebble
cd /etc/pebble
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -addext subjectAltName=DNS:localhost \
    -days 30 -keyout key.pem -out cert.pem 2>/dev/null
cp cert.pem /usr/local/share/ca-certificates/authority.crt
update-ca-certificates >/dev/null 2>&1
echo '{ "pebble": { "listenAddress": "127.0.0.1:14000", "managementListenAddress": "127.0.0.1:15000", "httpPort": 80, "tlsPort": 443,
    "certificate": "/etc/pebble/cert.pem", "privateKey": "/etc/pebble/key.pem" } }' >config.json
echo '127.0.0.1 acme.test www.acme.test hostile.test' >>/etc/hosts
systemd-run --quiet --unit=authority --setenv=PEBBLE_VA_NOSLEEP=1 --setenv=PEBBLE_WFE_NONCEREJECT=0 pebble -config /etc/pebble/config.json
"#;

/// The authority is answered through nginx.
pub(crate) const TLS_FROM_AUTHORITY: Tale = Tale {
    package: "tls_certificate",
    parameters: &[
        ("domains", "acme.test"),
        ("source", "acme"),
        ("acme_server", "https://localhost:14000/dir"),
        ("webroot", "/var/www/html"),
    ],
    before: "apt-get -qq -y --no-install-recommends install nginx >/dev/null 2>&1",
    there: "cd /etc/ssl/settled/tls_certificate/live; openssl x509 -in fullchain.pem -noout -issuer | grep -q Pebble",
    change: &[("domains", "acme.test www.acme.test")],
    changed: "cd /etc/ssl/settled/tls_certificate/live; openssl x509 -in fullchain.pem -noout -checkhost www.acme.test | grep -q 'does match'",
    own: Some((
        "renew",
        "[ $(ls /etc/ssl/settled/tls_certificate/acme/archive/settled/cert*.pem | wc -l) = 3 ]",
    )),
    breaks: breaks::TLS_FROM_AUTHORITY,
    fails: Trouble {
        with: &[("domains", "nowhere.invalid")],
        says: "the authority gave no certificate for nowhere.invalid",
        ..NOTHING
    },
    stays: Trouble {
        make: READ_ONLY_SSL,
        says: "Read-only file system",
        mend: "umount /etc/ssl/settled",
        ..NOTHING
    },
    gone: "[ ! -e /etc/ssl/settled/tls_certificate ]",
    ..NO_TALE
};

pub(crate) const SITE: Tale = Tale {
    package: "site",
    parameters: &[
        ("domains", "site.test"),
        ("kind", "php"),
        ("root", "/srv/site"),
        ("certificate", "/etc/ssl/settled/tls_certificate/live/fullchain.pem"),
        ("certificate_key", "/etc/ssl/settled/tls_certificate/live/privkey.pem"),
    ],
    before: r#"
mkdir /srv/site /srv/other
echo '<?php echo "the product is ", 2 * 3;' >/srv/other/index.php
echo '<?php echo "the sum is ", 1 + 1;' >/srv/site/index.php
printf '%s\n' '#!/bin/sh' 'printf "GET / HTTP/1.0\r\nHost: $1\r\n\r\n" | openssl s_client -quiet -connect 127.0.0.1:443 2>/dev/null' >/usr/bin/page
chmod +x /usr/bin/page
"#,
    there: "page site.test | grep -q 'the sum is 2'",
    change: &[("max_body", "2m")],
    changed: "page site.test | grep -q 'the sum is 2'; nginx -T 2>/dev/null | grep -q 'client_max_body_size 2m'",
    paused: "page site.test | grep -q '^HTTP/1.1 503'",
    breaks: breaks::SITE,
    fails: Trouble {
        with: &[("max_body", "3m")],
        make: "echo nonsense >/etc/nginx/conf.d/wrong.conf",
        says: "the configuration of nginx is broken already",
        mend: "rm /etc/nginx/conf.d/wrong.conf",
    },
    stays: Trouble {
        make: "mount --bind /etc/nginx /etc/nginx; mount -o remount,ro,bind /etc/nginx",
        says: "Read-only file system",
        mend: "umount /etc/nginx",
        ..NOTHING
    },
    gone: "! ls /etc/nginx/sites-*/settled-*; ! page site.test | grep -q sum",
    ..NO_TALE
};

pub(crate) const MARIADB: Tale = Tale {
    package: "mariadb",
    parameters: &[("port", "3306"), ("max_connections", "50"), ("buffer_pool_mb", "16")],
    removal: PURGE,
    there: "mariadb -Ne 'SELECT @@max_connections' | grep -qx 50",
    change: &[("max_connections", "60")],
    changed: "mariadb -Ne 'SELECT @@max_connections' | grep -qx 60",
    paused: "! systemctl -q is-active mariadb; ! systemctl -q is-enabled mariadb",
    coming: Some(&breaks::MARIADB_COMING),
    breaks: breaks::MARIADB,
    fails: Trouble {
        with: &[("port", "22")],
        says: "MariaDB does not start with these settings, so it runs with those before",
        ..NOTHING
    },
    stays: Trouble { says: "host/mariadb/mariadb is required by host/database/database", ..NOTHING },
    gone: "! command -v mariadbd; [ ! -e /var/lib/mysql ]",
    ..NO_TALE
};

pub(crate) const DATABASE: Tale = Tale {
    package: "database",
    parameters: &[("database", "shop"), ("charset", "utf8mb4"), ("collation", "")],
    removal: PURGE,
    there: "mariadb shop -Ne 'SELECT @@character_set_database' | grep -qx utf8mb4",
    change: &[("charset", "latin1")],
    changed: "mariadb shop -Ne 'SELECT @@character_set_database' | grep -qx latin1",
    coming: Some(&breaks::DATABASE_COMING),
    breaks: breaks::DATABASE,
    fails: Trouble {
        with: &[("collation", "klingon")],
        says: "there is no collation klingon for the character set latin1",
        ..NOTHING
    },
    stays: Trouble {
        make: "systemctl stop mariadb",
        says: "MariaDB does not run on this server, so the database cannot be deleted",
        mend: "systemctl start mariadb",
        ..NOTHING
    },
    gone: "! mariadb shop -e 'SELECT 1'",
    ..NO_TALE
};

pub(crate) const DATABASE_USER: Tale = Tale {
    package: "database_user",
    parameters: &[("user", "keeper"), ("database", "shop"), ("privileges", "all")],
    secrets: &[("password", "open'sesame\"\\")],
    before: "mariadb -e 'CREATE DATABASE other'",
    there: "cd /tmp; HOME=/root mariadb -ukeeper '-popen'\\''sesame\"\\' shop -e 'CREATE TABLE things (name TEXT)'",
    change: &[("privileges", "read")],
    changed: "mariadb -ukeeper '-popen'\\''sesame\"\\' shop -e 'SELECT * FROM things'; ! mariadb -ukeeper '-popen'\\''sesame\"\\' shop -e 'DROP TABLE things'",
    coming: Some(&breaks::DATABASE_USER_COMING),
    breaks: breaks::DATABASE_USER,
    fails: Trouble {
        with: &[("database", "nowhere")],
        says: "there is no database nowhere on this server",
        ..NOTHING
    },
    stays: Trouble {
        make: "systemctl stop mariadb",
        says: "MariaDB does not run on this server, so the user cannot be deleted",
        mend: "systemctl start mariadb",
        ..NOTHING
    },
    gone: "[ -z \"$(mariadb -Ne \"SELECT user FROM mysql.global_priv WHERE user = 'keeper'\")\" ]",
    ..NO_TALE
};

pub(crate) const REDIS: Tale = Tale {
    package: "redis",
    parameters: &[("port", "6380")],
    secrets: &[("password", "open'sesame\"\\")],
    removal: PURGE,
    there: "redis-cli -p 6380 -a 'open'\\''sesame\"\\' set thing kept | grep -qx OK; redis-cli -p 6380 ping | grep -q NOAUTH",
    change: &[("max_memory_mb", "32"), ("append_only", "true")],
    changed: "redis-cli -p 6380 -a 'open'\\''sesame\"\\' config get maxmemory | grep -qx 33554432; redis-cli -p 6380 -a 'open'\\''sesame\"\\' get thing | grep -qx kept",
    paused: "! systemctl -q is-active redis-server; ! systemctl -q is-enabled redis-server",
    coming: Some(&breaks::REDIS_COMING),
    breaks: breaks::REDIS,
    fails: Trouble {
        with: &[("port", "22")],
        says: "Redis does not start with these settings, so it runs with those before",
        ..NOTHING
    },
    stays: APT_FAILS,
    gone: "! command -v redis-server; [ ! -e /var/lib/redis ]; [ ! -e /etc/systemd/system/redis-server.service.d ]",
    ..NO_TALE
};

pub(crate) const APT_PACKAGE: Tale = Tale {
    package: "apt_package",
    parameters: &[("package", "cron"), ("version", ""), ("hold", "true")],
    there: "systemctl -q is-active cron; apt-mark showhold | grep -qx cron",
    change: &[("hold", "false")],
    changed: "systemctl -q is-active cron; ! apt-mark showhold | grep -q cron",
    coming: Some(&breaks::APT_PACKAGE_COMING),
    breaks: breaks::APT_PACKAGE,
    fails: Trouble { with: &[("version", "9.9")], says: "the version 9.9 of cron is not offered", ..NOTHING },
    stays: APT_FAILS,
    gone: "! systemctl -q is-active cron",
    ..NO_TALE
};

pub(crate) const FIREWALL: Tale = Tale {
    package: "firewall",
    parameters: &[("incoming", "deny")],
    there: "ufw status verbose | grep -q 'Default: deny (incoming)'",
    change: &[("incoming", "reject")],
    changed: "ufw status verbose | grep -q 'Default: reject (incoming)'",
    breaks: breaks::FIREWALL,
    fails: Trouble {
        with: &[("outgoing", "reject")],
        make: "cp -a /etc/ufw/before.rules /root/before.rules; echo nonsense >>/etc/ufw/before.rules",
        says: "the kernel does not take /etc/ufw/before.rules",
        mend: "mv /root/before.rules /etc/ufw/before.rules",
    },
    stays: Trouble {
        make: "mount --bind /etc/ufw /etc/ufw; mount -o remount,ro,bind /etc/ufw",
        says: "ERROR",
        mend: "umount /etc/ufw",
        ..NOTHING
    },
    gone: "ufw status | grep -q 'Status: inactive'; ! ufw show added | grep -q settled",
    ..NO_TALE
};

pub(crate) const FIREWALL_RULE: Tale = Tale {
    package: "firewall_rule",
    parameters: &[("port", "8080"), ("action", "allow")],
    there: "ufw status | grep -qE '^8080 +ALLOW'",
    change: &[("action", "limit")],
    changed: "ufw status | grep -qE '^8080 +LIMIT'",
    breaks: breaks::FIREWALL_RULE,
    fails: Trouble {
        with: &[("port", "9090")],
        make: "ufw allow 9090",
        says: "a rule that is not ours matches the same traffic",
        mend: "ufw delete allow 9090",
    },
    stays: Trouble {
        make: "mount --bind /etc/ufw /etc/ufw; mount -o remount,ro,bind /etc/ufw",
        says: "ERROR",
        mend: "umount /etc/ufw",
        ..NOTHING
    },
    gone: "! ufw show added | grep -q 8080",
    ..NO_TALE
};

pub(crate) const SCHEDULED_TASK: Tale = Tale {
    package: "scheduled_task",
    parameters: &[("expression", "0 0 1 1 *"), ("command", "date >>/var/tmp/ran"), ("user", "root")],
    there: "grep -q '^0 0 1 1 [*] root ' /etc/cron.d/settled-scheduled_task",
    change: &[("expression", "5 0 1 1 *")],
    changed: "grep -q '^5 0 1 1 [*] root ' /etc/cron.d/settled-scheduled_task",
    paused: "! grep -q '^5' /etc/cron.d/settled-scheduled_task",
    own: Some((
        "run_now",
        "grep -qxE 'run_now [0-9]+ [0-9]+ 0' /var/lib/settled-packages/tasks/scheduled_task/outcome; [ $(wc -l </var/tmp/ran) = 1 ]",
    )),
    breaks: breaks::SCHEDULED_TASK,
    fails: Trouble {
        with: &[("user", "nobodys")],
        says: "there is no user nobodys on this server",
        ..NOTHING
    },
    stays: Trouble {
        make: "mount --bind /etc/cron.d /etc/cron.d; mount -o remount,ro,bind /etc/cron.d",
        says: "Read-only file system",
        mend: "umount /etc/cron.d",
        ..NOTHING
    },
    gone: "[ ! -e /etc/cron.d/settled-scheduled_task ]",
    ..NO_TALE
};

pub(crate) const SCRIPT: Tale = Tale {
    package: "script",
    parameters: &[
        ("setup", "[ -e /srv/mine ] || echo one >/srv/mine"),
        ("check", "[ -e /srv/mine ]"),
        ("teardown", "[ ! -e /var/tmp/stuck ] || { echo it is stuck; exit 4; }\nrm /srv/mine"),
    ],
    there: "grep -qx one /srv/mine",
    change: &[("setup", "echo two >/srv/mine")],
    changed: "grep -qx two /srv/mine",
    breaks: breaks::SCRIPT,
    fails: Trouble {
        with: &[("setup", "echo it is wrong; exit 3")],
        says: "the script ended with exit code 3",
        ..NOTHING
    },
    stays: Trouble {
        make: "touch /var/tmp/stuck",
        says: "the script ended with exit code 4",
        mend: "rm /var/tmp/stuck",
        ..NOTHING
    },
    gone: "[ ! -e /srv/mine ]",
    ..NO_TALE
};

pub(crate) const SUPERVISOR_PROGRAM: Tale = Tale {
    package: "supervisor_program",
    parameters: &[("command", "exec sleep 1000"), ("processes", "1")],
    there: "[ \"$(pgrep -cxf 'sleep 1000')\" = 1 ]",
    change: &[("processes", "2")],
    changed: "[ \"$(pgrep -cxf 'sleep 1000')\" = 2 ]",
    paused: "! pgrep -xf 'sleep 1000'",
    own: Some(("restart", "[ \"$(pgrep -cxf 'sleep 1000')\" = 2 ]")),
    coming: Some(&breaks::SUPERVISOR_PROGRAM_COMING),
    breaks: breaks::SUPERVISOR_PROGRAM,
    fails: Trouble {
        with: &[("command", "echo it is wrong; exit 1")],
        says: "the program does not stay up",
        ..NOTHING
    },
    stays: Trouble {
        make: "echo nonsense >/etc/supervisor/conf.d/wrong.conf",
        says: "supervisor does not take its configuration",
        mend: "rm /etc/supervisor/conf.d/wrong.conf",
        ..NOTHING
    },
    gone: "! command -v supervisord; ! pgrep -xf 'sleep 1000'",
    ..NO_TALE
};

pub(crate) const DEPLOYMENT: Tale = Tale {
    package: "deployment",
    parameters: &[("path", "/srv/app"), ("source", "/srv/source"), ("release", "one"), ("build", "")],
    before: "mkdir /srv/source; echo one >/srv/source/page",
    there: "[ \"$(readlink /srv/app/current)\" = releases/one ]; grep -qx one /srv/app/current/page",
    change: &[("release", "two")],
    changed: "[ \"$(readlink /srv/app/current)\" = releases/two ]",
    own: Some(("rollback", "[ \"$(readlink /srv/app/current)\" = releases/one ]")),
    breaks: breaks::DEPLOYMENT,
    fails: Trouble {
        with: &[("release", "three"), ("build", "echo it is wrong; exit 4")],
        says: "the build failed with exit code 4",
        ..NOTHING
    },
    stays: Trouble {
        make: "mount --bind /srv/app /srv/app; mount -o remount,ro,bind /srv/app",
        says: "Read-only file system",
        mend: "umount /srv/app",
        ..NOTHING
    },
    gone: "[ ! -e /srv/app ]",
    ..NO_TALE
};

const READ_ONLY_SSL: &str =
    "mount --bind /etc/ssl/settled /etc/ssl/settled; mount -o remount,ro,bind /etc/ssl/settled";
const APT_FAILS: Trouble = Trouble {
    with: &[],
    make: "echo 'DPkg::Pre-Invoke { \"exit 7\"; };' >/etc/apt/apt.conf.d/99wrong",
    says: "ended with exit code 100",
    mend: "rm /etc/apt/apt.conf.d/99wrong",
};
const PURGE: &[(&str, &str)] = &[("purge", "true")];
const NOTHING: Trouble = Trouble { with: &[], make: "", says: "", mend: "" };
const NO_TALE: Tale = Tale {
    package: "",
    parameters: &[],
    secrets: &[],
    removal: &[],
    before: "",
    there: "",
    change: &[],
    changed: "",
    paused: "",
    own: None,
    coming: None,
    breaks: &[],
    fails: NOTHING,
    stays: NOTHING,
    gone: "",
};
