-- The queue in PostgreSQL 14 or newer: load it once, as an owner of the database who may create
-- roles, by
--   psql --single-transaction -v ON_ERROR_STOP=1 -f cluster/schema.sql <database>
--
-- Everything that a front does is one call of turn_1, which is idempotent: the front's row keeps the
-- number and the receipt of its last turn. Fronts may call functions, and touch no table. A new
-- version adds turn_2 beside turn_1, so that fronts of both run while they are replaced.
--
-- Errors: QF001 the front was given up; QF002 the engine has lost turns that it had confirmed;
-- QF003 the front holds other tasks than the engine says, which is a mistake of ours.

-- Names and payloads are any text, and cut by characters.
DO $$ BEGIN
  IF current_setting('server_encoding') <> 'UTF8' THEN
    RAISE EXCEPTION 'the database must have the encoding UTF8, and has %',
      current_setting('server_encoding') USING HINT = 'createdb --encoding UTF8 --template template0 queue';
  END IF;
END $$;

CREATE SCHEMA queue;

-- The newest turn that is here.
CREATE FUNCTION queue.version() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';

-- CACHE 1, which is the default: arrivals must be in the order of the calls.
CREATE SEQUENCE queue.arrival AS bigint;
CREATE SEQUENCE queue.consumer AS bigint;
CREATE SEQUENCE queue.front_number AS int;

-- One row for each front that lives: its last turn, and what it has added to the counts of tasks, so
-- that their sum over all rows is exact and nobody waits for another. Row 0 has those of fronts that
-- are gone.
CREATE TABLE queue.front (
  front int PRIMARY KEY,
  turn bigint NOT NULL DEFAULT 0,
  receipt text,
  waits boolean NOT NULL DEFAULT false,
  ready bigint NOT NULL DEFAULT 0,
  delayed bigint NOT NULL DEFAULT 0,
  reserved bigint NOT NULL DEFAULT 0,
  buried bigint NOT NULL DEFAULT 0,
  payload_chars bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 20);
-- A receipt is long, and there is one per turn. Some servers are built without lz4.
DO $$ BEGIN
  ALTER TABLE queue.front ALTER receipt SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN NULL;
END $$;
INSERT INTO queue.front (front) VALUES (0);

-- A task is in one of four tables. Their keys are their order, and they have no other index: with one
-- on reserved.front the planner chose all x all, once the table had been seen empty.
CREATE TABLE queue.ready (
  priority smallint NOT NULL,
  arrival bigint NOT NULL,
  ends smallint NOT NULL,
  task_id text COLLATE "C" NOT NULL,
  duration text COLLATE "C" NOT NULL,
  payload text COLLATE "C",
  PRIMARY KEY (priority, arrival)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
  autovacuum_vacuum_cost_delay = 0);

-- Payloads are copied into each receipt, and into the next table. Some servers are built without lz4.
DO $$ BEGIN
  ALTER TABLE queue.ready ALTER payload SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN NULL;
END $$;

-- due is in milliseconds since 1970, on the clocks of the fronts.
CREATE TABLE queue.delayed (
  due double precision NOT NULL,
  LIKE queue.ready INCLUDING STORAGE INCLUDING COMPRESSION,
  PRIMARY KEY (due, arrival)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
  autovacuum_vacuum_cost_delay = 0);

CREATE TABLE queue.reserved (
  front int NOT NULL,
  consumer bigint NOT NULL,
  LIKE queue.ready INCLUDING STORAGE INCLUDING COMPRESSION,
  PRIMARY KEY (arrival)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
  autovacuum_vacuum_cost_delay = 0);

-- Burials are told in their order.
CREATE SEQUENCE queue.burial AS bigint;
CREATE TABLE queue.buried (
  burial bigint NOT NULL DEFAULT nextval('queue.burial'),
  LIKE queue.ready INCLUDING STORAGE INCLUDING COMPRESSION,
  PRIMARY KEY (task_id, priority, arrival)
);

CREATE FUNCTION queue.open_front() RETURNS int
LANGUAGE sql SECURITY DEFINER SET search_path = queue, pg_temp AS $$
  INSERT INTO front (front) VALUES (nextval('front_number')) RETURNING front
$$;

-- One turn of a front. Arrays belong together by their beginnings; one with no element but null is
-- null itself.
--   done_     arrivals of tasks that are completed
--   b_        tasks put back by who held them: ready; or delayed, if due is given; or buried
--   g_        requested tasks whose line never left, as they were
--   d_        delayed tasks become ready: those due until then, so many at most
--   holders   hand-outs in the order in which they were asked for: the consumer, 0 if not reserved
--   c_        new tasks; delayed, if due is given
--   k_id      names of buried tasks, each to be kicked
--   consumers how many new consumers' numbers are wanted
-- They take effect in this order. The receipt has a line for each
--   D task    that became ready, A task that was handed out, in their order
--   C         if payloads had no room: hand-outs that are left are to be asked for again
--   K i       kick that found its task, from 1
--   N n ...   the numbers
--   S ready delayed reserved buried payload_chars [due]  the sums, and when the next delay is over
-- where a task is: priority arrival ends task_id duration [payload].
CREATE FUNCTION queue.turn_1(
  my_front int, my_turn bigint, waiting boolean,
  done bigint[],
  b_arrival bigint[], b_ends smallint[], b_due double precision[], b_buried boolean[],
  g_priority smallint[], g_arrival bigint[], g_ends smallint[],
  g_id text[], g_duration text[], g_payload text[],
  d_until double precision, d_most int,
  holders bigint[],
  c_priority smallint[], c_id text[], c_duration text[], c_payload text[], c_due double precision[],
  k_id text[], consumers int
) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = queue, pg_temp
-- Plans for tables that are never small: what the planner has seen last may have been empty. Their
-- costs would start the JIT compiler at each call.
SET jit = off SET enable_seqscan = off AS $$
#variable_conflict use_variable
DECLARE
  known_turn bigint; known_receipt text;
  n bigint; n_ready bigint; n_delayed bigint; n_buried bigint; n_reserved bigint; n_chars bigint;
  ready_now bigint := 0;
  d_ready bigint := 0; d_delayed bigint := 0; d_reserved bigint := 0; d_buried bigint := 0;
  d_chars bigint := 0;
  most bigint; is_cut boolean := false;
  -- Of 4 MB a turn takes about 0.3 s, in which the front answers nobody.
  most_chars CONSTANT int := 4 * 1024 * 1024;
  wanted record; kicked_ones bigint[] := '{}'; part text; out text := '';
BEGIN
  -- The lock has older calls of this front, which may still run, end first.
  SELECT f.turn, f.receipt INTO known_turn, known_receipt
    FROM front f WHERE f.front = my_front FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'front % was given up', my_front USING ERRCODE = 'QF001';
  END IF;
  IF known_turn = my_turn THEN RETURN known_receipt; END IF;
  IF known_turn <> my_turn - 1 THEN
    RAISE EXCEPTION 'front % is at turn %, not %', my_front, known_turn, my_turn - 1
      USING ERRCODE = 'QF002';
  END IF;

  IF done IS NOT NULL THEN
    WITH gone AS (
      DELETE FROM reserved r WHERE r.arrival = ANY (done) AND r.front = my_front RETURNING r.payload)
    SELECT count(*), coalesce(sum(char_length(payload)), 0) INTO n, n_chars FROM gone;
    IF n <> cardinality(done) THEN
      RAISE EXCEPTION 'front % completes %, and holds % of them', my_front, cardinality(done), n
        USING ERRCODE = 'QF003';
    END IF;
    d_reserved := d_reserved - n; d_chars := d_chars - n_chars;
  END IF;

  IF b_arrival IS NOT NULL THEN
    WITH state AS (
      SELECT * FROM unnest(b_arrival, b_ends, b_due, b_buried) AS u (arrival, ends, due, is_buried)),
    held AS (
      DELETE FROM reserved r WHERE r.arrival = ANY (b_arrival) AND r.front = my_front RETURNING r.*),
    back AS (
      SELECT h.priority, h.arrival, s.ends, h.task_id, h.duration, h.payload, s.due, s.is_buried
        FROM held h JOIN state s ON s.arrival = h.arrival),
    to_ready AS (
      INSERT INTO ready (priority, arrival, ends, task_id, duration, payload)
      SELECT b.priority, b.arrival, b.ends, b.task_id, b.duration, b.payload
        FROM back b WHERE NOT b.is_buried AND b.due IS NULL),
    to_delayed AS (
      INSERT INTO delayed (due, priority, arrival, ends, task_id, duration, payload)
      SELECT b.due, b.priority, b.arrival, b.ends, b.task_id, b.duration, b.payload
        FROM back b WHERE NOT b.is_buried AND b.due IS NOT NULL),
    to_buried AS (
      INSERT INTO buried (priority, arrival, ends, task_id, duration, payload)
      SELECT b.priority, b.arrival, b.ends, b.task_id, b.duration, b.payload
        FROM back b WHERE b.is_buried)
    SELECT count(*), count(*) FILTER (WHERE NOT b.is_buried AND b.due IS NULL),
        count(*) FILTER (WHERE NOT b.is_buried AND b.due IS NOT NULL),
        count(*) FILTER (WHERE b.is_buried)
      INTO n, n_ready, n_delayed, n_buried FROM back b;
    IF n <> cardinality(b_arrival) THEN
      RAISE EXCEPTION 'front % puts back %, and holds % of them', my_front, cardinality(b_arrival), n
        USING ERRCODE = 'QF003';
    END IF;
    d_reserved := d_reserved - n; d_ready := d_ready + n_ready;
    d_delayed := d_delayed + n_delayed; d_buried := d_buried + n_buried;
    ready_now := ready_now + n_ready;
  END IF;

  IF g_id IS NOT NULL THEN
    WITH back AS (
      INSERT INTO ready (priority, arrival, ends, task_id, duration, payload)
      SELECT * FROM unnest(g_priority, g_arrival, g_ends, g_id, g_duration, g_payload)
      RETURNING payload)
    SELECT count(*), coalesce(sum(char_length(b.payload)), 0) INTO n, n_chars FROM back b;
    d_ready := d_ready + n; d_chars := d_chars + n_chars; ready_now := ready_now + n;
  END IF;

  IF d_until IS NOT NULL THEN
    most := d_most;
    IF (SELECT sum(f.payload_chars) FROM front f) > most_chars THEN
      -- Payloads are not read for this: their length is beside them.
      SELECT count(*) FILTER (WHERE coalesce(x.before, 0) < most_chars) INTO most FROM (
        SELECT sum(octet_length(d.payload)) OVER (ORDER BY d.due, d.arrival
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
          FROM (SELECT * FROM delayed WHERE due <= d_until
            ORDER BY due, arrival LIMIT d_most) d) x;
    END IF;
    WITH due AS (
      DELETE FROM delayed d WHERE d.ctid = ANY (ARRAY(
        SELECT x.ctid FROM delayed x WHERE x.due <= d_until
          ORDER BY x.due, x.arrival LIMIT most FOR UPDATE SKIP LOCKED)) RETURNING d.*),
    to_ready AS (
      INSERT INTO ready (priority, arrival, ends, task_id, duration, payload)
      SELECT d.priority, d.arrival, d.ends, d.task_id, d.duration, d.payload FROM due d)
    SELECT count(*), string_agg(concat_ws(' ',
        'D', d.priority, d.arrival, d.ends, d.task_id, d.duration, d.payload) || E'\n', ''
        ORDER BY d.due, d.arrival)
      INTO n, part FROM due d;
    d_delayed := d_delayed - n; d_ready := d_ready + n; ready_now := ready_now + n;
    out := out || coalesce(part, '');
  END IF;

  IF holders IS NOT NULL THEN
    -- One front takes at a time. With SKIP LOCKED alone a front passes over what another takes just
    -- now, and finds nothing though a task was there. A lock of the session, and for this statement
    -- alone: one of the transaction would be kept until a majority has the commit. After an error it
    -- stays: then the front closes the session.
    PERFORM pg_advisory_lock('ready'::regclass::oid::bigint);
    most := cardinality(holders);
    IF (SELECT sum(f.payload_chars) FROM front f) > most_chars THEN
      SELECT count(*) FILTER (WHERE coalesce(x.before, 0) < most_chars),
          count(*) FILTER (WHERE x.before >= most_chars) > 0
        INTO most, is_cut FROM (
        SELECT sum(octet_length(r.payload)) OVER (ORDER BY r.priority, r.arrival
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
          FROM (SELECT * FROM ready ORDER BY priority, arrival LIMIT most) r) x;
    END IF;
    WITH taken AS (
      DELETE FROM ready r WHERE r.ctid = ANY (ARRAY(
        SELECT x.ctid FROM ready x ORDER BY x.priority, x.arrival
          LIMIT most FOR UPDATE SKIP LOCKED)) RETURNING r.*),
    ranked AS (
      SELECT row_number() OVER (ORDER BY t.priority, t.arrival) AS o, t.* FROM taken t),
    held AS (
      INSERT INTO reserved (front, consumer, priority, arrival, ends, task_id, duration, payload)
      SELECT my_front, holders[k.o], k.priority, k.arrival, k.ends, k.task_id, k.duration, k.payload
        FROM ranked k WHERE holders[k.o] <> 0)
    SELECT count(*), count(*) FILTER (WHERE holders[k.o] <> 0),
        coalesce(sum(char_length(k.payload)) FILTER (WHERE holders[k.o] = 0), 0),
        string_agg(concat_ws(' ',
          'A', k.priority, k.arrival, k.ends, k.task_id, k.duration, k.payload) || E'\n', ''
          ORDER BY k.o)
      INTO n, n_reserved, n_chars, part FROM ranked k;
    PERFORM pg_advisory_unlock('ready'::regclass::oid::bigint);
    d_ready := d_ready - n; d_reserved := d_reserved + n_reserved; d_chars := d_chars - n_chars;
    out := out || coalesce(part, '');
    IF is_cut THEN out := out || E'C\n'; END IF;
  END IF;

  IF c_id IS NOT NULL THEN
    WITH new AS (
      SELECT nextval('arrival') AS arrival, u.*
        FROM unnest(c_priority, c_id, c_duration, c_payload, c_due)
          AS u (priority, task_id, duration, payload, due)),
    to_ready AS (
      INSERT INTO ready (priority, arrival, ends, task_id, duration, payload)
      SELECT w.priority, w.arrival, 0, w.task_id, w.duration, w.payload
        FROM new w WHERE w.due IS NULL),
    to_delayed AS (
      INSERT INTO delayed (due, priority, arrival, ends, task_id, duration, payload)
      SELECT w.due, w.priority, w.arrival, 0, w.task_id, w.duration, w.payload
        FROM new w WHERE w.due IS NOT NULL)
    SELECT count(*) FILTER (WHERE w.due IS NULL), count(*) FILTER (WHERE w.due IS NOT NULL),
        coalesce(sum(char_length(w.payload)), 0)
      INTO n_ready, n_delayed, n_chars FROM new w;
    d_ready := d_ready + n_ready; d_delayed := d_delayed + n_delayed; d_chars := d_chars + n_chars;
    ready_now := ready_now + n_ready;
  END IF;

  IF k_id IS NOT NULL THEN
    -- All kicks of one name at once: each would pass over all that the ones before have removed.
    FOR wanted IN
      SELECT k.id, array_agg(k.i ORDER BY k.i) AS kicks
        FROM unnest(k_id) WITH ORDINALITY AS k (id, i) GROUP BY k.id ORDER BY min(k.i)
    LOOP
      WITH kicked AS (
        DELETE FROM buried b WHERE b.ctid = ANY (ARRAY(
          SELECT x.ctid FROM buried x WHERE x.task_id = wanted.id
            ORDER BY x.priority, x.arrival LIMIT cardinality(wanted.kicks) FOR UPDATE SKIP LOCKED))
          RETURNING b.*)
      INSERT INTO ready (priority, arrival, ends, task_id, duration, payload)
      SELECT k.priority, k.arrival, 0, k.task_id, k.duration, k.payload FROM kicked k;
      GET DIAGNOSTICS n = ROW_COUNT;
      d_buried := d_buried - n; d_ready := d_ready + n; ready_now := ready_now + n;
      kicked_ones := kicked_ones || wanted.kicks[:n];
    END LOOP;
    SELECT string_agg('K ' || u.i || E'\n', '' ORDER BY u.i) INTO part
      FROM unnest(kicked_ones) AS u (i);
    out := out || coalesce(part, '');
  END IF;

  IF consumers > 0 THEN
    out := out || 'N ' || (
      SELECT string_agg(nextval('consumer')::text, ' ') FROM generate_series(1, consumers)) || E'\n';
  END IF;

  SELECT concat_ws(' ', 'S', sum(f.ready) + d_ready, sum(f.delayed) + d_delayed,
      sum(f.reserved) + d_reserved, sum(f.buried) + d_buried, sum(f.payload_chars) + d_chars,
      (SELECT min(d.due) FROM delayed d))
    INTO part FROM front f;
  out := out || part;
  UPDATE front f SET turn = my_turn, receipt = out, waits = waiting,
      ready = f.ready + d_ready, delayed = f.delayed + d_delayed,
      reserved = f.reserved + d_reserved, buried = f.buried + d_buried,
      payload_chars = f.payload_chars + d_chars
    WHERE f.front = my_front;
  IF ready_now > 0 AND EXISTS (SELECT FROM front f WHERE f.waits AND f.front <> my_front) THEN
    PERFORM pg_notify('queue', '');
  END IF;
  RETURN out;
END $$;

-- Ends a front: what it holds is ready again; each counts as so many ends, the 5th of which buries.
CREATE FUNCTION queue.retire(dead int, counted int)
RETURNS TABLE (consumer bigint, task_id text, is_buried boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = queue, pg_temp AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY SELECT r.consumer, r.task_id, r.ends + counted >= 5
    FROM reserved r WHERE r.front = dead ORDER BY r.arrival;
  WITH back AS (DELETE FROM reserved r WHERE r.front = dead RETURNING r.*),
  to_ready AS (
    INSERT INTO ready (priority, arrival, ends, task_id, duration, payload)
    SELECT b.priority, b.arrival, b.ends + counted, b.task_id, b.duration, b.payload
      FROM back b WHERE b.ends + counted < 5),
  to_buried AS (
    INSERT INTO buried (priority, arrival, ends, task_id, duration, payload)
    SELECT b.priority, b.arrival, b.ends + counted, b.task_id, b.duration, b.payload
      FROM back b WHERE b.ends + counted >= 5),
  moved AS (
    SELECT count(*) AS n, count(*) FILTER (WHERE b.ends + counted >= 5) AS n_buried FROM back b),
  gone AS (DELETE FROM front f WHERE f.front = dead RETURNING f.*)
  UPDATE front f SET
      ready = f.ready + g.ready + m.n - m.n_buried, delayed = f.delayed + g.delayed,
      reserved = f.reserved + g.reserved - m.n, buried = f.buried + g.buried + m.n_buried,
      payload_chars = f.payload_chars + g.payload_chars
    FROM moved m, gone g WHERE f.front = 0;
  PERFORM pg_notify('queue', '');
END $$;

-- Ends a front that stops in order; nothing if it is gone already.
CREATE FUNCTION queue.close_front(my_front int) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = queue, pg_temp AS $$
BEGIN
  PERFORM FROM front f WHERE f.front = my_front AND my_front <> 0 FOR UPDATE;
  IF FOUND THEN PERFORM retire(my_front, 0); END IF;
END $$;

-- The other fronts, and at which turn each is.
CREATE FUNCTION queue.others(my_front int) RETURNS TABLE (front int, turn bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = queue, pg_temp AS $$
  SELECT f.front, f.turn FROM front f WHERE f.front NOT IN (0, my_front)
$$;

-- Gives up fronts that are still at the turns at which they were seen. It is for the one that asks to
-- know since when: the engine may have stood still, and its clock may be wrong.
CREATE FUNCTION queue.sweep(fronts int[], turns bigint[])
RETURNS TABLE (consumer bigint, task_id text, is_buried boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = queue, pg_temp AS $$
#variable_conflict use_column
DECLARE dead int;
BEGIN
  FOR dead IN SELECT f.front FROM front f JOIN unnest(fronts, turns) AS s (front, turn)
    ON s.front = f.front AND s.turn = f.turn WHERE f.front <> 0
    FOR UPDATE OF f SKIP LOCKED
  LOOP
    RETURN QUERY SELECT * FROM retire(dead, 1);
  END LOOP;
END $$;

-- What an operator sees and does at a front, on a connection of its own, since it may take long.
--
-- If a table is an argument, the statement names its schema: else a front's user could name a
-- temporary view of their own, whose functions would run with the rights of the queue's owner.

-- The whole queue in figures; by priority what is ready: how many, the first arrival, and the mean
-- duration of the first 1000. It counts what is ready, which takes 0.1 s per million.
CREATE FUNCTION queue.look() RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = queue, pg_temp SET jit = off AS $$
  SELECT jsonb_build_object(
    'ready', sum(f.ready), 'delayed', sum(f.delayed), 'reserved', sum(f.reserved),
    'buried', sum(f.buried),
    'last_arrival', (SELECT CASE WHEN a.is_called THEN a.last_value ELSE 0 END FROM arrival a),
    'last_burial', (SELECT CASE WHEN b.is_called THEN b.last_value ELSE 0 END FROM burial b),
    'waiting', (SELECT jsonb_object_agg(c.priority, jsonb_build_object(
      'count', c.n,
      'oldest', (SELECT min(r.arrival) FROM ready r WHERE r.priority = c.priority),
      'seconds', (SELECT avg(x.duration::float8) FROM (
        SELECT r.duration FROM ready r WHERE r.priority = c.priority
          ORDER BY r.arrival LIMIT 1000) x)))
      FROM (SELECT r.priority, count(*) AS n FROM ready r GROUP BY r.priority) c),
    'took_ms', 1000 * extract(epoch FROM clock_timestamp() - statement_timestamp()))
    FROM front f
$$;

-- What is shown of a row x of a table of tasks, as an expression.
CREATE FUNCTION queue.shown(state text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT 'jsonb_build_object(''state'', ' || quote_literal(state) || ', ''priority'', x.priority,'
    ' ''arrival'', x.arrival, ''ends'', x.ends, ''task_id'', x.task_id, ''duration'', x.duration,'
    ' ''payload'', left(x.payload, 80)'
    || CASE state WHEN 'delayed' THEN ', ''due'', x.due'
      WHEN 'reserved' THEN ', ''consumer'', x.consumer'
      WHEN 'buried' THEN ', ''burial'', x.burial' ELSE '' END || ')'
$$;

-- In which order tasks in a state are told.
CREATE FUNCTION queue.ordered(state text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE state WHEN 'ready' THEN 'x.priority, x.arrival'
    WHEN 'delayed' THEN 'x.due, x.arrival' WHEN 'buried' THEN 'x.burial' ELSE 'x.arrival' END
$$;

-- Tasks in a state, of some priorities, with some text in their names.
CREATE FUNCTION queue.list(state text, wanted smallint[], part text, skip int, most int)
RETURNS SETOF jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = queue, pg_temp SET jit = off AS $$
BEGIN
  RETURN QUERY EXECUTE format(
    'SELECT %s FROM queue.%I x WHERE x.priority = ANY ($1) AND strpos(x.task_id, $2) > 0
       ORDER BY %s OFFSET $3 LIMIT $4', shown(state), state, ordered(state))
    USING wanted, part, skip, most;
END $$;

-- How many of these there are.
CREATE FUNCTION queue.count(state text, wanted smallint[], part text) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = queue, pg_temp SET jit = off AS $$
DECLARE n bigint;
BEGIN
  EXECUTE format(
    'SELECT count(*) FROM queue.%I x
       WHERE x.priority = ANY ($1) AND strpos(x.task_id, $2) > 0', state)
    INTO n USING wanted, part;
  RETURN n;
END $$;

-- One task; null if there is none such.
CREATE FUNCTION queue.find(wanted bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = queue, pg_temp SET jit = off AS $$
DECLARE state text; found jsonb;
BEGIN
  FOREACH state IN ARRAY ARRAY['ready', 'reserved', 'buried', 'delayed'] LOOP
    -- Named, the priorities make an index of this that begins with them.
    EXECUTE format('SELECT %s FROM queue.%I x WHERE x.priority IN (1, 2, 3) AND x.arrival = $1',
      shown(state), state) INTO found USING wanted;
    IF found IS NOT NULL THEN RETURN found; END IF;
  END LOOP;
  RETURN NULL;
END $$;

-- Removes tasks in a state for good: those of a priority, or all if that is null; of some arrivals,
-- or all; up to an arrival; so many at most. Counts go to row 0, so that no front's turn waits.
CREATE FUNCTION queue.take_away(
  state text, wanted smallint, arrivals bigint[], up_to bigint, most int
) RETURNS SETOF jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = queue, pg_temp SET jit = off AS $$
BEGIN
  IF state NOT IN ('ready', 'delayed', 'buried') THEN
    RAISE EXCEPTION 'tasks that are % stay', state USING ERRCODE = '22023';
  END IF;
  RETURN QUERY EXECUTE format(
    'WITH gone AS (
       DELETE FROM queue.%1$I t WHERE t.ctid = ANY (ARRAY(
         SELECT x.ctid FROM queue.%1$I x
           WHERE ($1 IS NULL OR x.priority = $1) AND ($2 IS NULL OR x.arrival = ANY ($2))
             AND x.arrival <= $3 ORDER BY %2$s LIMIT $4 FOR UPDATE SKIP LOCKED)) RETURNING t.*),
     counted AS (
       UPDATE front f SET %1$I = f.%1$I - g.n, payload_chars = f.payload_chars - g.chars
         FROM (SELECT count(*) AS n, coalesce(sum(char_length(payload)), 0) AS chars FROM gone) g
         WHERE f.front = 0)
     SELECT %3$s FROM gone x ORDER BY %2$s', state, ordered(state), shown(state))
    USING wanted, arrivals, up_to, most;
END $$;

-- Removes tasks for good, but for those that consumers hold.
CREATE FUNCTION queue.remove(arrivals bigint[]) RETURNS SETOF jsonb
LANGUAGE sql SECURITY DEFINER SET search_path = queue, pg_temp AS $$
  SELECT t FROM unnest(ARRAY['ready', 'delayed', 'buried']) AS s (state),
    take_away(s.state, NULL, arrivals, 9223372036854775807, cardinality(arrivals)) AS t
$$;

-- Makes buried tasks ready, with a clean count; told as they were.
CREATE FUNCTION queue.kick(arrivals bigint[]) RETURNS SETOF jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = queue, pg_temp AS $$
BEGIN
  RETURN QUERY EXECUTE format(
    'WITH kicked AS (
       DELETE FROM buried b WHERE b.ctid = ANY (ARRAY(
         SELECT x.ctid FROM buried x WHERE x.arrival = ANY ($1) FOR UPDATE SKIP LOCKED)) RETURNING b.*),
     back AS (
       INSERT INTO ready (priority, arrival, ends, task_id, duration, payload)
       SELECT k.priority, k.arrival, 0, k.task_id, k.duration, k.payload FROM kicked k),
     counted AS (
       UPDATE front f SET buried = f.buried - k.n, ready = f.ready + k.n
         FROM (SELECT count(*) AS n FROM kicked) k WHERE f.front = 0)
     SELECT %s FROM kicked x ORDER BY %s', shown('buried'), ordered('buried'))
    USING arrivals;
  PERFORM pg_notify('queue', '');
END $$;

-- Fronts log in as members of this role, for example:
--   CREATE ROLE front LOGIN PASSWORD '...' IN ROLE queue_front;
DO $$ BEGIN
  CREATE ROLE queue_front NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA queue FROM PUBLIC;
GRANT USAGE ON SCHEMA queue TO queue_front;
GRANT EXECUTE ON FUNCTION queue.version(), queue.open_front(), queue.close_front(int),
  queue.others(int), queue.sweep(int[], bigint[]), queue.look(),
  queue.list(text, smallint[], text, int, int), queue.count(text, smallint[], text),
  queue.find(bigint), queue.remove(bigint[]), queue.take_away(text, smallint, bigint[], bigint, int),
  queue.kick(bigint[]) TO queue_front;
DO $$ BEGIN
  EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO queue_front', 'queue.turn_1'::regproc::regprocedure);
END $$;
