//! Hostile texts. The grammars of parameters are tried with them here, and what these let through is followed into files and programs by the
//! tests of the packages.

/// What people, shells, SQL, apt, nginx, terminals and logs have been hurt with.
const PAYLOADS: [&str; 44] = [
    "$(reboot)",
    "`reboot`",
    "; reboot",
    "| sh",
    "&& reboot",
    "& reboot",
    "> /etc/passwd",
    "< /etc/shadow",
    "'",
    "\"",
    "\\",
    "'; reboot; '",
    "\"; reboot; \"",
    "${IFS}",
    "$PATH",
    "*",
    "?",
    "[a-z]",
    "{a,b}",
    "~root",
    "!!",
    "# x",
    "-rf",
    "--config=/etc/shadow",
    "-oProxyCommand=reboot",
    "\n",
    "\r\n",
    "\t",
    "\0",
    "\u{1b}]0;x\u{7}",
    "\u{7f}",
    "\u{9b}31m",
    "\u{202e}",
    "\u{200b}",
    "\u{feff}",
    "é\u{1f9ea}",
    "../../etc/passwd",
    "/../",
    "%0a%s%n",
    "' OR 1=1 --",
    "<script>",
    "${jndi:ldap://x}",
    "\n[mysqld]\nuser=root",
    "\nSUDO_USER=x",
];

/// Each payload alone, around a good value, behind a space and on a line of its own.
pub(crate) fn around(good: &str) -> Vec<String> {
    let around = |payload: &&str| {
        [
            (*payload).to_owned(),
            format!("{good}{payload}"),
            format!("{payload}{good}"),
            format!("{good} {payload}"),
            format!("{good}\n{payload}"),
        ]
    };
    PAYLOADS.iter().flat_map(around).collect()
}
