-- The first schema. One text for SQLite and PostgreSQL: only TEXT, BIGINT, BOOLEAN and BYTEA; text that is sorted has the
-- collation "C" (registered on SQLite); times are microseconds UTC; objects within objects are JSON text.
-- A shipped migration is never edited: sqlx checks its bytes at every start.

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- One row. Every writing transaction locks it first, so that number order is commit order.
CREATE TABLE counter (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    seq BIGINT NOT NULL,
    audited BIGINT NOT NULL,
    audited_at BIGINT NOT NULL,
    audit_kept_from BIGINT NOT NULL
);
INSERT INTO counter (one, seq, audited, audited_at, audit_kept_from) VALUES (1, 0, 0, 0, 1);

-- Daemons that share this store. `packages`: the definitions that each has loaded, name and digest. `serves`: false while it drains. `keys`:
-- a JSON list of the master keys that it holds, by their ids.
CREATE TABLE daemon (
    id TEXT COLLATE "C" PRIMARY KEY,
    version TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    lease_until BIGINT NOT NULL,
    serves BOOLEAN NOT NULL,
    packages TEXT NOT NULL,
    keys TEXT NOT NULL
);

CREATE TABLE server (
    id TEXT COLLATE "C" PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    host TEXT NOT NULL,
    port BIGINT NOT NULL CHECK (port BETWEEN 1 AND 65535),
    login TEXT NOT NULL,
    host_key TEXT NOT NULL,
    identity TEXT NOT NULL CHECK (identity IN ('key', 'agent', 'installation')),
    via TEXT COLLATE "C" REFERENCES server (name) CHECK (via <> name),
    labels TEXT NOT NULL,
    time_zone TEXT NOT NULL,
    windows TEXT NOT NULL,
    repair_dpkg BOOLEAN NOT NULL,
    machine_id TEXT UNIQUE,
    status TEXT NOT NULL CHECK (status IN ('pending', 'updating', 'success', 'failed')),
    reach TEXT NOT NULL CHECK (reach IN ('ok', 'paused', 'unreachable', 'refused')),
    reach_detail TEXT NOT NULL,
    held TEXT,
    last_seen BIGINT,
    last_error TEXT,
    facts TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    seq BIGINT NOT NULL
);

CREATE INDEX server_by_via ON server (via) WHERE via IS NOT NULL;
CREATE INDEX server_held ON server (name) WHERE held IS NOT NULL;

-- A server's exclusive queue. The epoch rises each time it changes hands. `takeover`: the next claim takes the server from another
-- installation.
CREATE TABLE lane (
    server_id TEXT COLLATE "C" PRIMARY KEY REFERENCES server (id) ON DELETE CASCADE,
    owner TEXT COLLATE "C",
    epoch BIGINT NOT NULL,
    takeover TEXT CHECK (takeover IN ('asked', 'forced'))
);
CREATE INDEX lane_by_owner ON lane (owner) WHERE owner IS NOT NULL;

-- Steps that are not proven to have ended: nothing exclusive starts on their server. `abandon`: an operator has given it up, and the
-- server has yet to confirm that.
CREATE TABLE unresolved (
    step_id TEXT COLLATE "C" PRIMARY KEY,
    server_id TEXT COLLATE "C" NOT NULL REFERENCES server (id) ON DELETE CASCADE,
    since BIGINT NOT NULL,
    detail TEXT NOT NULL,
    abandon BOOLEAN NOT NULL
);
CREATE INDEX unresolved_by_server ON unresolved (server_id);

CREATE TABLE package (
    digest TEXT PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL,
    source TEXT NOT NULL,
    loaded_at BIGINT NOT NULL
);

-- `looked_at`: when a look on schedule was last queued; no part of the object, and no transition.
CREATE TABLE resource (
    id TEXT COLLATE "C" PRIMARY KEY,
    server_id TEXT COLLATE "C" NOT NULL REFERENCES server (id),
    server_name TEXT NOT NULL,
    package TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    status TEXT NOT NULL CHECK (
        status IN ('pending', 'installing', 'active', 'success', 'failed', 'updating', 'removing', 'paused')
    ),
    desired TEXT NOT NULL,
    former TEXT,
    applied TEXT,
    applied_digest TEXT,
    applied_known BOOLEAN NOT NULL,
    applied_by TEXT,
    secrets TEXT NOT NULL,
    outputs TEXT NOT NULL,
    ours BOOLEAN NOT NULL,
    last_error TEXT,
    observed TEXT,
    open_run TEXT COLLATE "C",
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    looked_at BIGINT NOT NULL DEFAULT 0,
    UNIQUE (server_id, package, name),
    CHECK ((applied IS NULL) = (applied_digest IS NULL)),
    CHECK ((applied IS NULL) = (applied_by IS NULL))
);

CREATE INDEX resource_by_server ON resource (server_id, id);
CREATE INDEX resource_by_package ON resource (package, id);
CREATE INDEX resource_stage_script ON resource (name) WHERE package = 'stage_script';
CREATE INDEX resource_by_status ON resource (status, id);
CREATE INDEX resource_at_rest ON resource (looked_at, id) WHERE status IN ('active', 'success', 'paused') AND open_run IS NULL;

-- Values of key parameters: unique per server and package.
CREATE TABLE resource_key (
    server_id TEXT COLLATE "C" NOT NULL,
    package TEXT COLLATE "C" NOT NULL,
    param TEXT COLLATE "C" NOT NULL,
    value TEXT COLLATE "C" NOT NULL,
    resource_id TEXT COLLATE "C" NOT NULL REFERENCES resource (id) ON DELETE CASCADE,
    PRIMARY KEY (server_id, package, param, value)
);
CREATE INDEX resource_key_by_resource ON resource_key (resource_id);

-- Sealed secrets: of a resource (a parameter), of a server (its login key), of a lifecycle (what its webhooks are signed with), of the
-- installation itself. `key_id`: the master key that `data_key` is sealed with, the row's own key, which `sealed` is sealed with. `damaged`: a
-- rotation of the master key has found that it does not open any more.
CREATE TABLE secret (
    owner_id TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    data_key BYTEA NOT NULL,
    sealed BYTEA NOT NULL,
    damaged BOOLEAN NOT NULL,
    PRIMARY KEY (owner_id, name)
);
CREATE INDEX secret_by_key ON secret (damaged, key_id);

-- Secrets that a change has replaced and that may still be on the server, until a change succeeds: they are masked in output, too.
CREATE TABLE former_secret (
    owner_id TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    replaced_at BIGINT NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    data_key BYTEA NOT NULL,
    sealed BYTEA NOT NULL,
    damaged BOOLEAN NOT NULL,
    PRIMARY KEY (owner_id, name, replaced_at)
);
CREATE INDEX former_secret_by_key ON former_secret (damaged, key_id);

-- Bearer tokens, by which callers over TCP say who they are. `hash`: SHA-256 of the secret, which itself is nowhere. `scope`: a JSON list of
-- what it is for; empty: everything. `principal`: who made it.
CREATE TABLE token (
    id TEXT COLLATE "C" PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL,
    hash TEXT COLLATE "C" NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    scope TEXT NOT NULL,
    principal TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    last_used BIGINT,
    revoked_at BIGINT
);
CREATE UNIQUE INDEX token_by_hash ON token (hash);
CREATE UNIQUE INDEX token_live_name ON token (name) WHERE revoked_at IS NULL;
CREATE INDEX token_over ON token (COALESCE(revoked_at, expires_at));

-- Whom to tell of what. `url`: of a webhook, empty for an e-mail. `recipients`, `events`, `packages`: JSON lists; `labels`: a JSON object.
-- The secret that a webhook is signed with is among the secrets.
CREATE TABLE notifier (
    id TEXT COLLATE "C" PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('webhook', 'email')),
    url TEXT NOT NULL,
    recipients TEXT NOT NULL,
    events TEXT NOT NULL,
    labels TEXT NOT NULL,
    packages TEXT NOT NULL,
    principal TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    CHECK ((kind = 'webhook') = (url <> ''))
);

-- What each of them is told, written with the change that it tells of. `due`: when it is sent, or, with `taken_by`, when the daemon that
-- sends it is not waited for any longer. `attempt` counts how often it was taken, and fences off who took it before.
CREATE TABLE delivery (
    seq BIGINT PRIMARY KEY,
    notifier_id TEXT COLLATE "C" NOT NULL,
    notifier TEXT COLLATE "C" NOT NULL,
    notice TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'sent', 'dead')),
    attempt BIGINT NOT NULL,
    due BIGINT NOT NULL,
    taken_by TEXT COLLATE "C",
    last_error TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    ended_at BIGINT,
    CHECK ((state = 'waiting') = (ended_at IS NULL)),
    CHECK (state = 'waiting' OR taken_by IS NULL)
);
CREATE INDEX delivery_due ON delivery (notifier_id, due, seq) WHERE state = 'waiting';
CREATE INDEX delivery_taken ON delivery (taken_by) WHERE taken_by IS NOT NULL;
CREATE INDEX delivery_by_notifier ON delivery (notifier, seq);
CREATE INDEX delivery_by_state ON delivery (state, seq);
CREATE INDEX delivery_ended ON delivery (ended_at) WHERE ended_at IS NOT NULL;

-- Runs keep ids and names after their objects are gone: no foreign keys. From `stale_at` on an open run is shown as likely stale: nothing
-- has happened to it (`progress_at`) for longer than its own thresholds (`stale_queued`, `stale_running`) allow. `parameters`: what was
-- given for this run alone. `stuck_told`: the `stale_at` of which notifiers were told last; no part of the object, and no transition.
CREATE TABLE run (
    id TEXT COLLATE "C" PRIMARY KEY,
    queue_no BIGINT NOT NULL,
    server_id TEXT COLLATE "C" NOT NULL,
    server_name TEXT NOT NULL,
    resource_id TEXT COLLATE "C",
    resource_name TEXT,
    package TEXT,
    digest TEXT,
    earlier TEXT,
    in_progress TEXT,
    success TEXT,
    operation TEXT NOT NULL,
    exclusive BOOLEAN NOT NULL,
    attempts_max BIGINT NOT NULL,
    principal TEXT NOT NULL,
    retry_of TEXT,
    accepted_at BIGINT NOT NULL,
    queue_until BIGINT NOT NULL,
    kill_grace BIGINT NOT NULL,
    settle_margin BIGINT NOT NULL,
    wait_limit BIGINT NOT NULL,
    stale_queued BIGINT NOT NULL,
    stale_running BIGINT NOT NULL,
    progress_at BIGINT NOT NULL,
    priority BIGINT NOT NULL CHECK (priority BETWEEN 0 AND 2),
    cancel_requested BOOLEAN NOT NULL,
    payload BOOLEAN NOT NULL,
    parameters TEXT NOT NULL,
    outputs TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'completed')),
    started_at BIGINT,
    attempt BIGINT NOT NULL,
    step BIGINT NOT NULL,
    try_no BIGINT NOT NULL,
    deadline BIGINT,
    between_since BIGINT,
    busy_since BIGINT,
    wait_reason TEXT,
    wait_who TEXT,
    wait_since BIGINT,
    wait_next_try BIGINT,
    outcome TEXT CHECK (outcome IN ('succeeded', 'failed', 'cancelled', 'blocked')),
    reason TEXT,
    evidence TEXT CHECK (evidence IN ('exit_record', 'probe', 'not_started', 'none')),
    reconciled BOOLEAN NOT NULL,
    failure TEXT,
    grounds TEXT,
    completed_at BIGINT,
    stale_at BIGINT,
    settles_by BIGINT,
    epoch BIGINT NOT NULL,
    version BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    stuck_told BIGINT NOT NULL DEFAULT 0,
    CHECK ((state = 'completed') = (outcome IS NOT NULL)),
    CHECK ((state = 'completed') = (completed_at IS NOT NULL)),
    CHECK ((state = 'completed') = (settles_by IS NULL)),
    CHECK ((state = 'completed') = (stale_at IS NULL)),
    CHECK ((state = 'completed') = (grounds IS NOT NULL)),
    CHECK ((state = 'completed') = (evidence IS NOT NULL)),
    CHECK (outcome IS NULL OR (outcome = 'succeeded') = (reason IS NULL)),
    CHECK (outcome IS NULL OR outcome <> 'succeeded' OR evidence IN ('exit_record', 'probe')),
    CHECK ((state = 'running') = ((deadline IS NULL) <> (between_since IS NULL))),
    CHECK (deadline IS NULL OR between_since IS NULL),
    CHECK (busy_since IS NULL OR state = 'running'),
    CHECK (state <> 'queued' OR (started_at IS NULL AND attempt = 0)),
    CHECK (state <> 'running' OR (started_at IS NOT NULL AND attempt BETWEEN 1 AND attempts_max)),
    CHECK ((wait_reason IS NULL) = (wait_since IS NULL)),
    CHECK (state <> 'completed' OR wait_reason IS NULL),
    CHECK ((resource_id IS NULL) = (earlier IS NULL))
);
CREATE UNIQUE INDEX run_one_running_exclusive ON run (server_id) WHERE state = 'running' AND exclusive;
CREATE UNIQUE INDEX run_one_open_exclusive ON run (resource_id) WHERE state <> 'completed' AND exclusive;
CREATE INDEX run_queue ON run (server_id, priority DESC, queue_no) WHERE state = 'queued';
CREATE INDEX run_running ON run (server_id) WHERE state = 'running';
CREATE INDEX run_settles_by ON run (settles_by) WHERE settles_by IS NOT NULL;
CREATE INDEX run_by_server ON run (server_id, id);
CREATE INDEX run_by_resource ON run (resource_id, id) WHERE resource_id IS NOT NULL;
CREATE INDEX run_by_state ON run (state, id);
CREATE INDEX run_by_outcome ON run (outcome, id) WHERE outcome IS NOT NULL;
-- For lists by freshness: what is open, and what the reconciler has settled.
CREATE INDEX run_open ON run (id) WHERE stale_at IS NOT NULL;
CREATE INDEX run_stuck ON run (stale_at, id) WHERE stale_at > stuck_told;
CREATE INDEX run_reconciled ON run (id) WHERE reconciled;
CREATE INDEX run_waiting ON run (wait_reason) WHERE wait_reason IS NOT NULL;
CREATE INDEX run_completed_at ON run (completed_at) WHERE completed_at IS NOT NULL;

-- `late`: what the server has shown of it after its run was settled without proof.
CREATE TABLE step (
    id TEXT COLLATE "C" PRIMARY KEY,
    run_id TEXT COLLATE "C" NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    server_id TEXT COLLATE "C" NOT NULL,
    resource_id TEXT COLLATE "C",
    no BIGINT NOT NULL,
    title TEXT NOT NULL,
    repair BOOLEAN NOT NULL,
    kill_grace BIGINT NOT NULL,
    output_bytes_max BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('starting', 'running', 'exited', 'killed', 'rejected', 'lost')),
    exit_code BIGINT,
    why TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT,
    output_bytes BIGINT NOT NULL,
    truncated BOOLEAN NOT NULL,
    late TEXT,
    version BIGINT NOT NULL,
    seq BIGINT NOT NULL
);
CREATE UNIQUE INDEX step_by_run ON step (run_id, no);

-- Output of steps, in pieces that cannot double.
CREATE TABLE output (
    step_id TEXT COLLATE "C" NOT NULL REFERENCES step (id) ON DELETE CASCADE,
    pos BIGINT NOT NULL,
    data BYTEA NOT NULL,
    PRIMARY KEY (step_id, pos)
);

CREATE TABLE transition (
    seq BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('server', 'resource', 'run', 'step', 'schedule', 'enrollment')),
    change TEXT NOT NULL CHECK (change IN ('created', 'updated', 'gone')),
    object_id TEXT COLLATE "C" NOT NULL,
    server_id TEXT COLLATE "C" NOT NULL,
    resource_id TEXT COLLATE "C",
    run_id TEXT COLLATE "C",
    old_labels TEXT,
    object TEXT NOT NULL
);
-- What labels a server had at an earlier number, and what went from it since.
CREATE INDEX transition_places ON transition (server_id, seq) WHERE old_labels IS NOT NULL OR change = 'gone';
-- Whether something was made after an earlier number.
CREATE INDEX transition_made ON transition (object_id, seq) WHERE change = 'created' AND kind <> 'step';

-- Commands that were answered, so that asking twice gives the same answer.
CREATE TABLE request (
    principal TEXT COLLATE "C" NOT NULL,
    method TEXT COLLATE "C" NOT NULL,
    request_id TEXT COLLATE "C" NOT NULL,
    digest TEXT NOT NULL,
    answer TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (principal, method, request_id)
);
CREATE INDEX request_at ON request (at);

-- Who asked for what, from where, and what came of it. `seq`: its place in the order of commits, without gaps; `at` never goes back in that
-- order, whichever daemon's clock it is of. `changes`: JSON, fields with what they were and are. `transitions_from` to `transitions_to`: the numbers of the transitions that went with it, if there were any.
-- Nothing here is ever changed, and only what is older than `counter.audit_kept_from` can be taken away: triggers see to that.
CREATE TABLE audit (
    seq BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    principal TEXT COLLATE "C" NOT NULL,
    peer TEXT NOT NULL,
    verb TEXT COLLATE "C" NOT NULL CHECK (verb IN ('view', 'operate', 'administer')),
    method TEXT COLLATE "C" NOT NULL,
    object TEXT NOT NULL,
    server TEXT COLLATE "C" NOT NULL,
    detail TEXT NOT NULL,
    result TEXT COLLATE "C" NOT NULL CHECK (result IN ('accepted', 'refused', 'done')),
    code TEXT NOT NULL,
    changes TEXT NOT NULL,
    run_id TEXT COLLATE "C",
    transitions_from BIGINT NOT NULL,
    transitions_to BIGINT NOT NULL
);
CREATE INDEX audit_at ON audit (at, seq);
CREATE INDEX audit_principal ON audit (principal, at, seq);
CREATE INDEX audit_verb ON audit (verb, at, seq);
CREATE INDEX audit_method ON audit (method, at, seq);
CREATE INDEX audit_server ON audit (server, at, seq);
CREATE INDEX audit_result ON audit (result, at, seq);

-- What is done again and again. `next_due`: the next time that its expression names; `fire_at`: when that is looked at, with its jitter.
-- `open_runs`, `open_enrollments`: what it has made and that may be open still. `waiting`: occurrences that wait for those.
CREATE TABLE schedule (
    id TEXT COLLATE "C" PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    cron TEXT NOT NULL,
    time_zone TEXT NOT NULL,
    target TEXT NOT NULL,
    overlap TEXT NOT NULL CHECK (overlap IN ('skip', 'queue', 'cancel_earlier')),
    missed TEXT NOT NULL CHECK (missed IN ('none', 'once', 'all')),
    missed_within BIGINT,
    jitter BIGINT NOT NULL CHECK (jitter >= 0),
    starts_at BIGINT,
    ends_at BIGINT,
    paused BOOLEAN NOT NULL,
    principal TEXT NOT NULL,
    next_due BIGINT,
    fire_at BIGINT,
    open_runs TEXT NOT NULL,
    open_enrollments TEXT NOT NULL,
    waiting BIGINT NOT NULL CHECK (waiting >= 0),
    last TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    CHECK ((next_due IS NULL) = (fire_at IS NULL)),
    CHECK (NOT paused OR next_due IS NULL)
);
CREATE INDEX schedule_fire_at ON schedule (fire_at) WHERE fire_at IS NOT NULL;
CREATE INDEX schedule_waiting ON schedule (id) WHERE waiting > 0;

-- What became of each due time, once: `due` names it within its schedule. A row of missed ones is one row, up to `until`. They outlive
-- their schedule, as runs outlive their resource. `principal`: who fired it by hand.
CREATE TABLE occurrence (
    schedule_id TEXT COLLATE "C" NOT NULL,
    due BIGINT NOT NULL,
    until BIGINT NOT NULL,
    count BIGINT NOT NULL CHECK (count > 0),
    cause TEXT NOT NULL CHECK (cause IN ('due', 'made_up', 'by_hand')),
    fate TEXT NOT NULL CHECK (fate IN ('waiting', 'fired', 'skipped', 'missed', 'refused')),
    why TEXT NOT NULL,
    runs TEXT NOT NULL,
    enrollments TEXT NOT NULL,
    refused TEXT NOT NULL,
    principal TEXT,
    at BIGINT NOT NULL,
    PRIMARY KEY (schedule_id, due),
    CHECK (until >= due),
    CHECK (principal IS NULL OR cause = 'by_hand'),
    CHECK (fate = 'missed' OR (until = due AND count = 1))
);
CREATE INDEX occurrence_at ON occurrence (at);
CREATE INDEX occurrence_waiting ON occurrence (schedule_id, due) WHERE fate = 'waiting';

-- What settled does for itself. The reconciler has no next time: each daemon looks all the time, by itself.
INSERT INTO schedule (id, name, cron, time_zone, target, overlap, missed, jitter, paused, principal, next_due, fire_at, open_runs,
    open_enrollments, waiting, created_at, updated_at, version, seq)
VALUES
    ('00000000000000000000000001', 'settled.reconcile', '*/5 * * * * *', 'UTC', '{"chore":"reconcile"}', 'skip', 'none', 0, FALSE, 'settled',
        NULL, NULL, '[]', '[]', 0, 0, 0, 1, 0),
    ('00000000000000000000000002', 'settled.retention', '* * * * *', 'UTC', '{"chore":"retention"}', 'skip', 'none', 0, FALSE, 'settled',
        0, 0, '[]', '[]', 0, 0, 0, 1, 0),
    ('00000000000000000000000003', 'settled.probes', '* * * * *', 'UTC', '{"chore":"probes"}', 'skip', 'none', 0, FALSE, 'settled',
        0, 0, '[]', '[]', 0, 0, 0, 1, 0),
    ('00000000000000000000000004', 'settled.compaction', '* * * * *', 'UTC', '{"chore":"compaction"}', 'skip', 'none', 0, FALSE, 'settled',
        0, 0, '[]', '[]', 0, 0, 0, 1, 0),
    ('00000000000000000000000005', 'settled.enrollments', '* * * * *', 'UTC', '{"chore":"enrollments"}', 'skip', 'none', 0, FALSE, 'settled',
        0, 0, '[]', '[]', 0, 0, 0, 1, 0),
    ('00000000000000000000000006', 'settled.clean_enrollments', '15 3 * * 0', 'UTC', '{"chore":"clean_enrollments"}', 'skip', 'none', 0, FALSE, 'settled',
        0, 0, '[]', '[]', 0, 0, 0, 1, 0),
    ('00000000000000000000000007', 'settled.clean_executions', '45 3 * * 0', 'UTC', '{"chore":"clean_executions"}', 'skip', 'none', 0, FALSE, 'settled',
        0, 0, '[]', '[]', 0, 0, 0, 1, 0);

-- Lifecycles. `run_at`: what was due by then is worked off, because someone asked for it.
CREATE TABLE lifecycle (
    id TEXT COLLATE "C" PRIMARY KEY,
    code TEXT COLLATE "C" NOT NULL UNIQUE,
    name TEXT NOT NULL,
    active BOOLEAN NOT NULL,
    starts_at BIGINT,
    ends_at BIGINT,
    activation TEXT NOT NULL CHECK (activation IN ('cron', 'hand')),
    revision BIGINT NOT NULL CHECK (revision >= 1),
    run_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    version BIGINT NOT NULL
);

-- What lifecycles said, version by version. `mapping`: from stages of the version before that are gone to those that take their place.
CREATE TABLE lifecycle_version (
    lifecycle_id TEXT COLLATE "C" NOT NULL REFERENCES lifecycle (id) ON DELETE CASCADE,
    revision BIGINT NOT NULL,
    source TEXT NOT NULL,
    mapping TEXT NOT NULL,
    principal TEXT NOT NULL,
    applied_at BIGINT NOT NULL,
    PRIMARY KEY (lifecycle_id, revision)
);

-- Subjects on their way. `due`: when it is looked at, and its place among those that are due; `until`: when time ends what goes on.
-- `run_over`: the run that it waits for has ended; set by the write that ends the run.
-- Completed ones outlive their lifecycle: no foreign key.
CREATE TABLE enrollment (
    id TEXT COLLATE "C" PRIMARY KEY,
    lifecycle_id TEXT COLLATE "C" NOT NULL,
    code TEXT COLLATE "C" NOT NULL,
    subject_type TEXT COLLATE "C" NOT NULL,
    subject_id TEXT COLLATE "C" NOT NULL,
    server_id TEXT COLLATE "C",
    resource_id TEXT COLLATE "C",
    principal TEXT NOT NULL,
    revision BIGINT NOT NULL,
    stage TEXT COLLATE "C" NOT NULL,
    attempt BIGINT NOT NULL,
    deferrals BIGINT NOT NULL,
    waits_since BIGINT,
    closed_since BIGINT,
    waits_for TEXT NOT NULL,
    payload TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'processing', 'completed', 'failed')),
    due BIGINT,
    work TEXT CHECK (work IN ('look', 'run', 'approval', 'offer', 'task')),
    run_id TEXT COLLATE "C",
    run_over BOOLEAN NOT NULL DEFAULT FALSE,
    queue TEXT COLLATE "C",
    worker TEXT,
    taken_by TEXT,
    until BIGINT,
    ended_at BIGINT,
    last_error TEXT NOT NULL,
    work_no BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    UNIQUE (lifecycle_id, subject_type, subject_id),
    CHECK ((status IN ('pending', 'processing')) = (due IS NOT NULL)),
    CHECK ((status IN ('completed', 'failed')) = (ended_at IS NOT NULL)),
    CHECK (status <> 'processing' OR work IS NOT NULL),
    CHECK (work IS NULL OR status = 'processing' OR work IN ('look', 'offer')),
    CHECK ((work IS NOT NULL AND work IN ('look', 'run')) = (run_id IS NOT NULL)),
    CHECK ((work IS NOT NULL AND work IN ('approval', 'offer', 'task')) = (until IS NOT NULL)),
    CHECK ((work IS NOT NULL AND work IN ('offer', 'task')) = (queue IS NOT NULL)),
    CHECK ((work IS NOT NULL AND work = 'task') = (worker IS NOT NULL)),
    CHECK ((worker IS NULL) = (taken_by IS NULL))
);
CREATE INDEX enrollment_due ON enrollment (lifecycle_id, due, id) WHERE status = 'pending' AND work IS NULL;
CREATE INDEX enrollment_by_due ON enrollment (due, id) WHERE status = 'pending' AND work IS NULL;
CREATE INDEX enrollment_by_lifecycle ON enrollment (lifecycle_id, id);
CREATE INDEX enrollment_by_server ON enrollment (server_id, id) WHERE server_id IS NOT NULL;
CREATE INDEX enrollment_by_subject ON enrollment (subject_type, subject_id, id);
CREATE INDEX enrollment_by_status ON enrollment (status, id);
CREATE INDEX enrollment_by_lifecycle_status ON enrollment (lifecycle_id, status, id);
CREATE INDEX enrollment_standing ON enrollment (lifecycle_id, revision, stage) WHERE status <> 'completed';
CREATE INDEX enrollment_by_run ON enrollment (run_id) WHERE run_id IS NOT NULL;
CREATE INDEX enrollment_over ON enrollment (run_id) WHERE run_over;
CREATE INDEX enrollment_until ON enrollment (until, id) WHERE until IS NOT NULL;
CREATE INDEX enrollment_offer ON enrollment (queue, due, id) WHERE work = 'offer';
CREATE INDEX enrollment_completed ON enrollment (ended_at) WHERE status = 'completed';

-- How stages went: written once and never changed. `seq`: the transition of the enrollment that it belongs to. `who`: the principal who
-- did it by hand, or decided; empty: nobody.
CREATE TABLE execution (
    seq BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    enrollment_id TEXT COLLATE "C" NOT NULL,
    lifecycle_id TEXT COLLATE "C" NOT NULL,
    code TEXT COLLATE "C" NOT NULL,
    subject_type TEXT COLLATE "C" NOT NULL,
    subject_id TEXT COLLATE "C" NOT NULL,
    revision BIGINT NOT NULL,
    stage TEXT COLLATE "C" NOT NULL,
    attempt BIGINT NOT NULL,
    deferrals BIGINT NOT NULL,
    outcome TEXT NOT NULL CHECK (
        outcome IN ('succeeded', 'failed', 'timed_out', 'skipped', 'advanced', 'retried', 'reset')
    ),
    payload_before TEXT NOT NULL,
    payload_after TEXT NOT NULL,
    error TEXT NOT NULL,
    run_id TEXT COLLATE "C",
    who TEXT NOT NULL
);
CREATE INDEX execution_by_enrollment ON execution (enrollment_id, at, seq);
CREATE INDEX execution_by_lifecycle ON execution (lifecycle_id, at, seq);
CREATE INDEX execution_by_stage ON execution (stage, at, seq);
CREATE INDEX execution_by_outcome ON execution (outcome, at, seq);
CREATE INDEX execution_at ON execution (at, seq);
