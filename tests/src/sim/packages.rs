//! The packages of the simulated world. Their scripts are words that the scripted servers understand: `put`, `take`, `look`.

use settled::catalog::Catalog;

const THING: &str = r#"
name = "thing"
summary = "A thing that can be there"
[parameters.version]
type = "text"
summary = "Which one"
default = "1"
[parameters.port]
type = "port"
summary = "Where it listens"
required = false
key = true
[parameters.password]
type = "secret"
summary = "What opens it"
required = false
[probe]
script = "look"
[operations.install]
proof = { state = "present", "fact.version" = "$version" }
steps = [{ title = "Get the thing ready", script = "prepare" }, { title = "Put the thing", script = "put", secrets = ["password"] }]
[operations.update]
proof = { state = "present", "fact.version" = "$version" }
steps = [{ title = "Put the new thing", script = "put", secrets = ["password"] }]
[operations.remove]
proof = { state = "absent" }
steps = [{ title = "Take the thing away", script = "take" }]
[operations.pause]
steps = [{ title = "Stop the thing", script = "stop" }]
[operations.resume]
steps = [{ title = "Let the thing go on", script = "go on" }]
[operations.shake]
steps = [{ title = "Shake the thing", script = "shake" }]
"#;

const TASK: &str = r#"
name = "task"
summary = "Work that is done once, needs dpkg, and cannot be proven afterwards"
in_progress = "updating"
success = "success"
[operations.install]
steps = [{ title = "Do the work", script = "work", dpkg = true, timeout = "2m", kill_grace = "30s" }]
[operations.update]
retry_on_timeout = true
steps = [{ title = "Do the work again", script = "work again", timeout = "2m" }]
[operations.remove]
steps = [{ title = "Forget the work", script = "forget" }]
"#;

const HURRIED: &str = r#"
name = "hurried"
summary = "Work that nobody waits long for"
[operations.install]
queue_limit = "10m"
expected_runtime = "40s"
steps = [{ title = "Hurry", script = "hurry", timeout = "1m" }]
[operations.remove]
steps = [{ title = "Forget the hurry", script = "forget" }]
"#;

const MAKER: &str = r#"
name = "maker"
summary = "Makes something and tells where"
[outputs.port]
type = "port"
summary = "Where it listens"
[outputs.release]
type = "text"
summary = "Which one was made"
[operations.install]
attempts = 2
steps = [{ title = "Make it", script = "make" }, { title = "Finish it", script = "finish" }]
[operations.turn]
steps = [{ title = "Turn it", script = "turn" }]
[operations.turn.parameters.angle]
type = "integer"
summary = "How far"
min = 0
max = 359
required = false
[operations.remove]
attempts = 2
steps = [{ title = "Forget it", script = "forget" }, { title = "Burn it", script = "burn", when = { purge = true } }]
[operations.remove.parameters.purge]
type = "boolean"
summary = "Whether nothing stays"
default = false
"#;

const CHOOSY: &str = r#"
name = "choosy"
summary = "Works on one distribution only"
supported = { debian = ["12", "13"], hint = "take a thing instead" }
[operations.install]
steps = [{ title = "Choose", script = "choose" }]
[operations.update]
steps = [{ title = "Choose again", script = "choose again" }]
[operations.remove]
steps = [{ title = "Forget the choice", script = "forget" }]
[probe]
script = "look"
"#;

const LONELY: &str = r#"
name = "lonely"
summary = "What a server has one of"
single = true
[operations.install]
steps = [{ title = "Come", script = "come" }]
[operations.update]
steps = [{ title = "Stay", script = "stay" }]
[operations.remove]
steps = [{ title = "Go", script = "go" }]
"#;

const HOUSE: &str = r#"
name = "house"
summary = "What guests and gardens require"
[operations.install]
attempts = 1
steps = [{ title = "Build the house", script = "build" }]
[operations.update]
attempts = 1
steps = [{ title = "Build on", script = "build on" }]
[operations.remove]
steps = [{ title = "Pull the house down", script = "pull" }]
"#;

const GARDEN: &str = r#"
name = "garden"
summary = "Lies at a house"
requires = ["house"]
[operations.install]
steps = [{ title = "Dig", script = "dig" }]
[operations.remove]
steps = [{ title = "Let it grow over", script = "let" }]
"#;

const GUEST: &str = r#"
name = "guest"
summary = "Comes to a house, and may want more of it"
requires = [{ package = "garden", when = { wants = "garden" } }, "house", { package = "key", when = { wants = "key" } }]
[parameters.wants]
type = "enum"
values = ["nothing", "garden", "key"]
summary = "What else is to be there"
default = "nothing"
[operations.install]
steps = [{ title = "Move in", script = "move in" }]
[operations.update]
steps = [{ title = "Move", script = "move" }]
[operations.pause]
steps = [{ title = "Go away", script = "go" }]
[operations.remove]
steps = [{ title = "Move out", script = "move out" }]
"#;

const KEY: &str = r#"
name = "key"
summary = "Nobody can guess it"
[parameters.shape]
type = "text"
summary = "How it looks"
[parameters.code]
type = "secret"
summary = "What it opens with"
[operations.install]
steps = [{ title = "Cut it", script = "cut", secrets = ["code"] }]
[operations.remove]
steps = [{ title = "Melt it", script = "melt" }]
"#;

/// The built-in packages, `thing`, `task`, `hurried`, `maker`, `choosy`, `lonely`, and a `guest` with what it requires.
pub fn catalog() -> anyhow::Result<Catalog> {
    let dir = tempfile::tempdir()?;
    let texts = [
        ("thing.toml", THING),
        ("task.toml", TASK),
        ("hurried.toml", HURRIED),
        ("maker.toml", MAKER),
        ("choosy.toml", CHOOSY),
        ("lonely.toml", LONELY),
        ("house.toml", HOUSE),
        ("garden.toml", GARDEN),
        ("guest.toml", GUEST),
        ("key.toml", KEY),
    ];
    for (name, text) in texts {
        std::fs::write(dir.path().join(name), text)?;
    }
    let words = |problems: Vec<settled::catalog::FileProblem>| {
        anyhow::anyhow!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    };
    Catalog::builtin().map_err(words)?.with_dir(dir.path()).map_err(words)
}
