//! P14: who may do what, generated from the contract: every method, for every role, with every kind of scope. docs/permissions.md says the
//! same in a table, and is held to it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use prost_types::{DescriptorProto, FileDescriptorSet};
use settled::auth::{Grants, Role, Scope};
use settled_proto::v1::{Scope as Concerns, Verb};
use settled_tests::engine::{Served, install};
use settled_tests::raw::send;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::scopes::{channel_of, labelled, scope};
use crate::{door, soon};

/// A server that the scopes below cover.
const INSIDE: &str = "web-inside";
/// One that they do not. Names of the same length, so that answers can be compared.
const OUTSIDE: &str = "web-beyond";
/// One that there is not.
const ABSENT: &str = "web-absent";

/// What a caller may be.
struct Caller {
    uid: u32,
    role: Option<Role>,
    scope: Scope,
}

/// A stranger, each role on all servers, and those that can be confined, by a name and by a label.
fn everybody() -> Vec<Caller> {
    let roles = [Some(Role::Viewer), Some(Role::Operator), Some(Role::Admin)];
    let whole = [None].into_iter().chain(roles).map(|role| (role, Scope::Whole));
    let confined = [scope(&["server:web-inside"]), scope(&["label:env=prod"])];
    let confined =
        confined.into_iter().flat_map(|scope| roles[..2].iter().map(move |role| (*role, scope.clone())));
    let number = |(n, (role, scope)): (u32, (Option<Role>, Scope))| Caller { uid: 50_100 + n, role, scope };
    (0..).zip(whole.chain(confined)).map(number).collect()
}

fn grants(callers: &[Caller]) -> Grants {
    let mut grants = Grants::default();
    for caller in callers {
        if let Some(role) = caller.role {
            grants.user_on(caller.uid, role, caller.scope.clone());
        }
    }
    grants
}

/// A method, as the contract declares it.
#[derive(Clone, Copy)]
struct Method {
    path: &'static str,
    verb: Verb,
    concerns: Concerns,
}

fn methods() -> Vec<Method> {
    let method = |&(path, verb, scope): &(&'static str, i32, i32)| Method {
        path,
        verb: Verb::try_from(verb).unwrap(),
        concerns: Concerns::try_from(scope).unwrap(),
    };
    let mut methods: Vec<_> = settled_proto::ACCESS.iter().map(method).collect();
    methods.sort_by_key(|method| method.path);
    methods
}

/// What becomes of a request about a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It comes through to the method.
    Through,
    /// As if there were no such object.
    NotFound,
    /// It is refused: `PERMISSION_DENIED`.
    Denied,
}

impl Method {
    fn lowest(self) -> Role {
        match self.verb {
            Verb::View => Role::Viewer,
            Verb::Operate => Role::Operator,
            Verb::Administer | Verb::Unspecified => Role::Admin,
        }
    }

    /// The rule, as docs/access.md says it.
    fn fate(self, caller: &Caller, covered: bool) -> Fate {
        if caller.role.is_none_or(|role| role < self.lowest()) {
            return Fate::Denied;
        }
        match self.concerns {
            _ if caller.scope == Scope::Whole => Fate::Through,
            Concerns::Installation | Concerns::Unspecified => Fate::Denied,
            Concerns::Server if !covered => Fate::NotFound,
            Concerns::Server | Concerns::Filtered | Concerns::None => Fate::Through,
        }
    }
}

/// How the method answers; a stream with its first message.
async fn ask(channel: &Channel, path: &'static str, message: Vec<u8>) -> Result<(), Status> {
    send(channel.clone(), path, vec![message]).await?.message().await.map(drop)
}

/// The forms of all requests, by the path of their method.
fn requests() -> BTreeMap<String, DescriptorProto> {
    let set: FileDescriptorSet = prost::Message::decode(settled_proto::DESCRIPTORS).unwrap();
    let ours = || set.file.iter().filter(|file| file.package() == "settled.v1");
    let messages: BTreeMap<_, _> = ours()
        .flat_map(|file| &file.message_type)
        .map(|message| (message.name().to_owned(), message))
        .collect();
    let mut requests = BTreeMap::new();
    for service in ours().flat_map(|file| &file.service) {
        for method in &service.method {
            let path = format!("/settled.v1.{}/{}", service.name(), method.name());
            let input = method.input_type().rsplit('.').next().unwrap();
            requests.insert(path, messages[input].clone());
        }
    }
    requests
}

/// An object of each kind on a server.
#[derive(Clone)]
struct Objects {
    server: String,
    resource: String,
    resource_id: String,
    run: String,
}

impl Objects {
    async fn on(api: &Served, server: &str, name: &str) -> Self {
        let answer = api.resources().install(install(&format!("{server}-{name}"), server, name)).await;
        let answer = answer.unwrap().into_inner();
        Self {
            server: server.to_owned(),
            resource: format!("{server}/scheduled_task/{name}"),
            resource_id: answer.resource.unwrap().id,
            run: answer.run.unwrap().id,
        }
    }

    fn nowhere() -> Self {
        let nobody = || "01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned();
        Self {
            server: ABSENT.to_owned(),
            resource: format!("{ABSENT}/scheduled_task/a"),
            resource_id: nobody(),
            run: nobody(),
        }
    }

    /// A request about it: the fields that name something, and what else the method cannot do without.
    fn request(&self, form: &DescriptorProto, by_id: bool, request_id: &str) -> Vec<u8> {
        let mut message = Vec::new();
        for field in &form.field {
            let text = match field.name() {
                "request_id" => request_id,
                "server" => &self.server,
                "resource" if by_id => &self.resource_id,
                "resource" => &self.resource,
                "run_id" => &self.run,
                "package" => "scheduled_task",
                "operation" => "none_of_its",
                _ => continue,
            };
            prost::encoding::string::encode(
                u32::try_from(field.number()).unwrap(),
                &text.to_owned(),
                &mut message,
            );
        }
        message
    }
}

/// A refusal without the names in it.
fn without(names: &Objects, status: &Status) -> (Code, String, Vec<u8>) {
    let mut told =
        (status.code(), status.message().to_owned(), String::from_utf8_lossy(status.details()).into_owned());
    for name in [&names.server, &names.resource_id, &names.run] {
        told.1 = told.1.replace(name.as_str(), "?");
        told.2 = told.2.replace(name.as_str(), "?");
    }
    (told.0, told.1, told.2.into_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn p14_every_method_answers_every_role_and_scope_as_the_contract_says() {
    let (api, callers, forms) = (Served::start().await, everybody(), requests());
    door::open_to_all(&api);
    api.gate.replace(grants(&callers));
    labelled(&api, INSIDE, "prod").await;
    labelled(&api, OUTSIDE, "test").await;
    let outside = Objects::on(&api, OUTSIDE, "a").await;
    let (mut asked, mut fates) = (0, BTreeMap::<String, usize>::new());
    for caller in &callers {
        let channel = channel_of(&api, caller.uid).await;
        for method in methods() {
            let form = &forms[method.path];
            let by_id = form.field.iter().any(|field| field.name() == "resource");
            for (place, ids) in [("inside", false), ("outside", false), ("outside", true)] {
                // Administrators could do what leaves nothing for the others.
                let spared = caller.scope == Scope::Whole && caller.role.is_some();
                if (ids && !by_id) || spared && place == "outside" {
                    continue;
                }
                asked += 1;
                let id = format!("ask-{asked}");
                let objects = match place {
                    _ if spared => Objects::nowhere(),
                    "inside" if method.concerns == Concerns::Server => {
                        Objects::on(&api, INSIDE, &format!("n{asked}")).await
                    }
                    "inside" => Objects::nowhere(),
                    _ => outside.clone(),
                };
                let answer =
                    soon(method.path, ask(&channel, method.path, objects.request(form, ids, &id))).await;
                let fate = method.fate(caller, place == "inside");
                let what = format!(
                    "{} as {:?} on {} ({place}, id {ids}): {answer:?}",
                    method.path, caller.role, caller.scope
                );
                *fates.entry(format!("{fate:?}")).or_default() += 1;
                match (fate, &answer) {
                    (Fate::Denied, Err(status)) => {
                        assert_eq!(status.code(), Code::PermissionDenied, "{what}");
                    }
                    (Fate::NotFound, Err(status)) => {
                        let nowhere = Objects::nowhere();
                        let absent =
                            ask(&channel, method.path, nowhere.request(form, ids, &id)).await.unwrap_err();
                        assert_eq!(status.code(), Code::NotFound, "{what}");
                        assert_eq!(without(&objects, status), without(&nowhere, &absent), "{what}");
                    }
                    (Fate::Through, answer) => {
                        let code = answer.as_ref().err().map(Status::code);
                        assert_ne!(code, Some(Code::PermissionDenied), "{what}");
                        let is_there = method.concerns == Concerns::Server && !spared;
                        assert!(!is_there || code != Some(Code::NotFound), "{what}");
                    }
                    (Fate::Denied | Fate::NotFound, Ok(())) => panic!("{what}"),
                }
            }
        }
    }
    let enough = |fate: &str| fates.get(fate).copied().unwrap_or_default() > 30;
    assert!(asked > 600 && ["Through", "NotFound", "Denied"].into_iter().all(enough), "{asked} {fates:?}");
}

/// The page that tells people.
fn page() -> String {
    let mut page = "# Who may call what\n\nMade from the contract (`option (access)` of each method); a test holds it to that. [access.md](access.md) tells \
                    what the roles are and who has\nthem. *yes*: it may. *own*: on servers where its role holds, others are NOT_FOUND, or left out. *-*: \
                    PERMISSION_DENIED. A stranger may call none.\n\n\
                    | method | viewer | operator | admin | viewer on some servers | operator on some servers |\n|---|---|---|---|---|---|\n"
        .to_owned();
    let callers = everybody();
    let confined =
        |role| callers.iter().find(move |caller| caller.role == Some(role) && caller.scope != Scope::Whole);
    let whole = |role| callers.iter().find(move |caller| caller.role == Some(role));
    let columns = [
        whole(Role::Viewer),
        whole(Role::Operator),
        whole(Role::Admin),
        confined(Role::Viewer),
        confined(Role::Operator),
    ];
    for method in methods() {
        let cell = |caller: &Caller| match (method.fate(caller, true), method.concerns) {
            (Fate::Through, Concerns::Server | Concerns::Filtered) if caller.scope != Scope::Whole => "own",
            (Fate::Through, _) => "yes",
            (Fate::Denied | Fate::NotFound, _) => "-",
        };
        let cells: Vec<_> = columns.iter().map(|caller| cell(caller.unwrap())).collect();
        let name = method.path.trim_start_matches("/settled.v1.").replace('/', ".");
        writeln!(page, "| `{name}` | {} |", cells.join(" | ")).unwrap();
    }
    page
}

#[test]
fn p14_the_page_of_permissions_says_what_the_contract_says() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/permissions.md");
    let made = page();
    if std::env::var_os("SETTLED_WRITE_PAGES").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == made,
        "docs/permissions.md is not what the contract says: write it anew with SETTLED_WRITE_PAGES=1 and this test"
    );
}
