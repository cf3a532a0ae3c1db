-- Looks, at each commit, whether whoever wrote about a server's work has its lane: by the epoch that was written, and by the user as
-- whom the daemon is connected. It shares nothing with settled's own guards.
CREATE TABLE proof_name (app TEXT PRIMARY KEY, id TEXT UNIQUE);
CREATE TABLE proof_violation (what TEXT, tab TEXT, app TEXT, detail TEXT);
CREATE SEQUENCE proof_looked;

CREATE FUNCTION proof_names() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO proof_name VALUES (session_user, NEW.id) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER proof_names AFTER INSERT OR UPDATE ON daemon FOR EACH ROW EXECUTE FUNCTION proof_names();

CREATE FUNCTION proof_write() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    writer TEXT := session_user;
    of TEXT;
    holder TEXT;
    now_epoch BIGINT;
BEGIN
    IF TG_TABLE_NAME = 'output' THEN
        SELECT server_id INTO of FROM step WHERE id = NEW.step_id;
    ELSE
        of := NEW.server_id;
    END IF;
    SELECT owner, epoch INTO holder, now_epoch FROM lane WHERE server_id = of;
    IF TG_TABLE_NAME = 'run' THEN
        -- What was never started belongs to whoever asks for it, not to the lane.
        IF TG_OP = 'INSERT' OR NEW.attempt = 0 THEN
            RETURN NULL;
        END IF;
        IF NEW.epoch < now_epoch THEN
            INSERT INTO proof_violation VALUES ('epoch', TG_TABLE_NAME, writer, NEW.id || ' ' || NEW.epoch || ' < ' || now_epoch);
        END IF;
    END IF;
    IF holder IS NOT NULL AND NOT EXISTS (SELECT 1 FROM proof_name n WHERE n.app = writer AND n.id = holder) THEN
        INSERT INTO proof_violation VALUES ('owner', TG_TABLE_NAME, writer, of);
    END IF;
    PERFORM nextval('proof_looked');
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER proof_run AFTER INSERT OR UPDATE ON run
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION proof_write();
CREATE CONSTRAINT TRIGGER proof_step AFTER INSERT OR UPDATE ON step
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION proof_write();
CREATE CONSTRAINT TRIGGER proof_output AFTER INSERT OR UPDATE ON output
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION proof_write();
