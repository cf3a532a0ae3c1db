use super::*;

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn what_people_type_is_understood() {
    let table = [
        ("install site --server web1 --set a=b --set c=@f --secret t=@x --dry-run", true),
        ("install site --server web1 --dry-run --wait", false),
        ("install site", false),
        ("adopt nginx --server web1 --set a=b --secret c=@f --wait", true),
        ("adopt nginx --server web1 --dry-run", false),
        ("install site --server web1 --with-requirements --wait", true),
        ("update web1/site/site --set a=b --dry-run", true),
        ("remove web1/site/site --dry-run", true),
        ("remove web1/database/shop --set purge=true --wait", true),
        ("do web1/deployment/site rollback --set to=r41", true),
        ("package check a.toml b.toml", true),
        ("package check", false),
        ("remove web1/site/site --dry-run --wait", false),
        ("do web1/site/site rollback --dry-run", true),
        ("pause web1/site/site --dry-run", false),
        ("update web1/site/site --set a=b --wait -o json", true),
        ("do web1/site/site rollback --wait", true),
        ("remove web1/site/site --queue-limit 30m", true),
        ("probe web1/site/site --queue-limit 30m", false),
        ("run retry 01JZ3V6K8Q0000000000000000 --wait --queue-limit 2h", true),
        ("server add web1 [2001:db8::1]:2222 --user deploy --label site=fra", true),
        ("server add web1 2001:db8::1 --user deploy", false),
        ("server edit web1", false),
        ("server edit web1 --via gate", true),
        ("server edit web1 --via gate --direct", false),
        ("server edit web1 --no-windows", true),
        ("server edit web1 --window daily --window weekly --time-zone UTC", true),
        ("server edit web1 --window daily --no-windows", false),
        ("server edit web1 --repair-dpkg --no-repair-dpkg", false),
        ("server rekey web1", false),
        ("server takeover web1 --force", true),
        ("server unlock web1", false),
        ("server unlock web1 --reason hangs", true),
        ("server edit web1 --agent --identity key", false),
        ("resource list --status active", true),
        ("resource list --status gone", false),
        ("run list --state queued --outcome failed --limit 5", true),
        ("run list --limit 0", false),
        ("watch --since 01GEN:42 --kind run --kind step", true),
        ("watch --server a --server b --label x=y --resource a/b/c --package b", true),
        ("watch --since 42", false),
        ("watch --since 01GEN:42 --snapshot", false),
        ("package reload --request-id x", true),
        ("reconcile --request-id x", true),
        ("drain", true),
        ("lifecycle apply a.toml --map old=new --dry-run", true),
        ("lifecycle apply", false),
        ("lifecycle run", true),
        ("lifecycle run trial --request-id x", true),
        ("lifecycle clean --dry-run", true),
        ("enroll trial user/42 --payload {} --at 2026-03-01T00:00:00Z", true),
        ("enroll trial user/42 --at soon", false),
        ("enroll trial user/42 --cancel", false),
        ("enroll trial user/42 --again --cancel", true),
        ("enrollment list --lifecycle trial --subject user/42 --status failed", true),
        ("enrollment list --due-before 2026-03-01T00:00:00Z --status failed", false),
        ("enrollment show trial/user/42 --log --stage a --outcome timed-out", true),
        ("enrollment show trial/user/42 --stage a", false),
        ("enrollment reset trial/user/42 --cancel", true),
        ("enrollment approve trial/user/42 --note fine", true),
        ("backup today.db --force", true),
        ("backup -", true),
        ("backup", false),
        ("drain --detach --wait", true),
        ("drain --cancel", true),
        ("drain --cancel --detach", false),
        ("drain --cancel --wait", false),
        ("schedule add a @daily --do renew --package p --label tier=web --overlap queue", true),
        ("schedule add a @daily --do restart --resource web1/p/n --missed all --missed-within 2h", true),
        ("schedule add a @daily --do renew --package p", false),
        ("schedule add a @daily --server web1", false),
        ("schedule add a @daily --do renew --enroll c --server web1", false),
        ("schedule add a @daily --enroll c", false),
        ("schedule add a @daily --enroll c --subject user/1 --subject user/2 --again", true),
        ("schedule add a @daily --enroll c --label tier=web --package site --payload {}", true),
        ("schedule add a @daily --enroll c --subject user/1 --label tier=web", false),
        ("schedule edit a --enroll c --subject user/1", true),
        ("schedule add a @daily --do renew --package p --server web1 --label a=b", false),
        ("schedule add a @daily --do renew --package p --server web1 --starts soon", false),
        ("schedule add a @daily --do renew --package p --server web1 --starts 2026-12-01T08:00:00Z", true),
        ("schedule edit a", false),
        ("schedule edit a --cron @hourly --no-end", true),
        ("schedule edit a --overlap cancel_earlier", true),
        ("schedule edit a --ends 2026-12-01T08:00:00Z --no-end", false),
        ("schedule list --paused", true),
        ("schedule show a --history 3", true),
        ("schedule fire a --request-id x", true),
        ("--token st_secret status", false),
        ("completions zsh", true),
        ("frobnicate", false),
    ];
    understands(&table);
}

#[test]
fn what_people_ask_of_the_audit_and_of_tokens_is_understood() {
    understands(&[
        ("token create ci --role operator --days 30", true),
        ("token create ci --role operator --scope label:tier=web --scope server:db1", true),
        ("token create ci", false),
        ("token create ci --role root", false),
        ("token list --limit 3", true),
        ("token revoke ci --request-id x", true),
        ("token revoke", false),
        ("--endpoint https://a:1 --ca ca.pem --token-file t status", true),
        ("status --endpoint https://a:1 --cert c --key k", true),
        ("status -o yaml", true),
        ("audit", true),
        ("audit list --limit 3", true),
        ("audit --limit 3", true),
        ("audit list --principal unix:7 --verb operate --result refused", true),
        ("audit list --since yesterday", false),
        ("audit show 12", true),
        ("audit show x", false),
        ("audit export --server web1", true),
    ]);
}

#[test]
fn what_people_ask_of_notifiers_is_understood() {
    understands(&[
        ("notifier create ops --url https://a.example/h --secret-file s", true),
        ("notifier create ops --url https://a.example/h", false),
        (
            "notifier create ops --mail a@b --mail c@d --event run_failed --label tier=web --package site",
            true,
        ),
        ("notifier create ops --mail a@b --secret-file s", false),
        ("notifier create ops --mail a@b --plain", false),
        ("notifier create ops --mail a@b --url http://a/ --secret-file s", false),
        ("notifier create ops --mail a@b --event test", false),
        ("notifier create ops", false),
        ("notifier list", true),
        ("notifier show ops", true),
        ("notifier test ops --request-id x", true),
        ("notifier delete ops", true),
        ("notifier deliveries --notifier ops --state dead --limit 3", true),
        ("notifier deliveries --state gone", false),
    ]);
}

fn understands(table: &[(&str, bool)]) {
    for (line, good) in table {
        let words = std::iter::once("settlectl").chain(line.split(' '));
        let parsed = Cli::typed(words.map(OsString::from));
        assert_eq!(parsed.is_ok(), *good, "{line}: {:?}", parsed.err().map(|e| e.to_string()));
    }
}

#[test]
fn an_empty_value_that_was_typed_is_refused_by_its_name() {
    for (line, flag) in [
        ("server add ok1 10.0.0.1 --user ''", "--user <USER>"),
        ("server edit ok1 --user ''", "--user <USER>"),
        ("install site --server web1 --name ''", "--name <NAME>"),
        ("server show ''", "<SERVER>"),
        ("watch --server web1 --server ''", "--server <SERVER>"),
        ("notifier create ops --mail a@b --package ''", "--package <PACKAGE>"),
        ("run list --resource ''", "--resource <RESOURCE>"),
    ] {
        let words = line.split(' ').map(|word| word.trim_matches('\'').into());
        let error = Cli::typed(std::iter::once("settlectl".into()).chain(words)).unwrap_err().to_string();
        assert!(error.contains(&format!("{flag} is empty")), "{line}: {error}");
    }
}

/// The words of a line of shell that knows no quotes but single ones.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn the_commands_of_the_readme_and_of_the_demo_s_last_words_can_be_typed_as_they_stand() {
    let texts = [include_str!("../../../README.md"), include_str!("../../../tests/demo/run.sh")];
    for text in texts {
        let commands: Vec<_> = text.lines().map(str::trim).filter(|l| l.starts_with("settlectl ")).collect();
        assert!(commands.len() > 2, "{commands:?}");
        for command in commands {
            let line = command.replace("SHA256:...", &format!("SHA256:{}", "x".repeat(43)));
            let parsed = Cli::try_parse_from(words(&line)).unwrap_or_else(|e| panic!("{command}: {e}"));
            if let Command::Install(install) = parsed.command {
                install.values.parameters().unwrap_or_else(|e| panic!("{command}: {:?}", e.lines));
            }
        }
    }
}
