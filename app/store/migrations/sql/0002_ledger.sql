-- The state machine of steps and executions. Every change of a step's state is one of these
-- functions: a compare-and-set in one round trip. Lock order is always execution, then step.
-- They run with their owner's rights and a fixed search path; a session whose role is named
-- opsfarm_<domain> may only touch steps of that domain.

create function caller_domain() returns text language sql stable as $$
    select substring(session_user from '^opsfarm_(comms|asset|network|automation)$')
$$;

create function may_touch(p_domain text) returns boolean language sql stable as $$
    select caller_domain() is null or caller_domain() = p_domain
$$;

create function tell(
    p_tenant text, p_execution uuid, p_step bigint, p_kind text, p_actor text, p_data jsonb
) returns void language sql as $$
    insert into events (tenant, execution_id, step_id, kind, actor, data)
    values (p_tenant, p_execution, p_step, p_kind, p_actor, p_data)
$$;

-- What watchers show of a step beside its state.
create function step_facts(s steps) returns jsonb language sql immutable as $$
    select jsonb_build_object(
        'position', s.position, 'key', s.key, 'tool', s.tool, 'operation', s.operation,
        'target', s.target -> 'name', 'attempt', s.attempt, 'reason', s.reason)
$$;

-- The execution's state from its counters; the same function as app.outcome.derive_state
-- computes from all rows (a property test compares them).
create function execution_state(e executions) returns text language sql immutable as $$
    select case
        when e.interrupted > 0 then 'attention'
        when e.stage < e.stages and e.stage_open > e.waiting then 'running'
        when e.stage < e.stages then 'waiting'
        when e.failed > 0 then 'failed'
        when e.cancelled > 0 then 'cancelled'
        else 'succeeded'
    end
$$;

-- Close rows that will not run: what is left of the main part, or all rows that a cancel covers.
create function close_unstarted(e executions, p_from int, p_below int, p_state text, p_states text[])
returns executions language plpgsql as $$
declare
    v_all int; v_here int; v_waiting int;
begin
    with closed as (
        update steps set state = p_state, reason = 'stopped', finished_at = clock_timestamp()
        where execution_id = e.id and stage >= p_from and stage < p_below and state = any (p_states)
        returning steps.*
    ), told as (
        insert into events (tenant, execution_id, step_id, kind, actor, data)
        select c.tenant, c.execution_id, c.id, 'step.' || p_state, null, step_facts(c) from closed c
    ), before as (  -- the old states: this snapshot is older than the update
        select s.id, s.state, s.stage from steps s
        where s.execution_id = e.id and s.stage >= p_from and s.stage < p_below
    )
    select count(*), count(*) filter (where b.stage = e.stage), count(*) filter (where b.state = 'waiting')
    into v_all, v_here, v_waiting
    from closed c join before b using (id);
    e.stage_open := e.stage_open - v_here;
    e.waiting := e.waiting - v_waiting;
    if p_state = 'cancelled' then e.cancelled := e.cancelled + v_all; end if;
    return e;
end $$;

-- Go to the next stage that has something to do, or to the end. Call with the row locked.
-- A row that fills its stage alone is marked as sent at once (by now(), the transaction's own
-- moment) when the caller may publish: `send_next` tells it to.
create function advance(e executions, p_send int) returns executions language plpgsql as $$
declare
    v_rows int; v_due int;
begin
    while e.stage_open = 0 and e.stage < e.stages loop
        e.stage := e.stage + 1;
        if e.stage < e.cancel_below then
            e := close_unstarted(e, e.stage, e.cancel_below, 'cancelled', '{pending}');
            e.stage_open := 0;
            e.stage := e.cancel_below - 1;
        elsif e.stopping and e.stage < e.finally_stage then
            e := close_unstarted(e, e.stage, e.finally_stage, 'skipped', '{pending}');
            e.stage_open := 0;
            e.stage := e.finally_stage - 1;
        elsif e.stage < e.stages then
            with moved as (
                update steps
                set state = case when dynamic then 'due' else 'queued' end,
                    queued_at = clock_timestamp(),
                    sent_at = case when linkable and p_send > 0 then now() end,
                    sends = case when linkable and p_send > 0 then sends + 1 else sends end
                where execution_id = e.id and stage = e.stage and state = 'pending'
                returning dynamic
            )
            select count(*), count(*) filter (where dynamic) into v_rows, v_due from moved;
            e.stage_open := v_rows;
            if v_due > 0 then perform pg_notify('opsfarm_dispatch', 'due'); end if;
        end if;
    end loop;
    return e;
end $$;

-- Write the execution back and tell of its end.
create function keep(e executions) returns executions language plpgsql as $$
begin
    e.state := execution_state(e);
    if e.stage >= e.stages and e.finished_at is null then
        e.finished_at := clock_timestamp();
        perform tell(e.tenant, e.id, null, 'execution.finished', null,
                     jsonb_build_object('state', e.state, 'name', e.name));
        perform pg_notify('opsfarm_final', e.id::text);
    end if;
    update executions set
        state = e.state, stage = e.stage, stage_open = e.stage_open, failed = e.failed,
        cancelled = e.cancelled, interrupted = e.interrupted, waiting = e.waiting,
        stopping = e.stopping, cancel_below = e.cancel_below,
        cancel_requested_at = e.cancel_requested_at, cancelled_by = e.cancelled_by,
        cancel_reason = e.cancel_reason, finished_at = e.finished_at
    where id = e.id;
    return e;
end $$;

-- Rows of the open stage that were never published, oldest first; marks them.
create function mark_sent(e executions, p_send int) returns bigint[] language sql as $$
    with chosen as (
        select id from steps
        where execution_id = e.id and stage = e.stage and state = 'queued' and sent_at is null
          and blocked_by is null  -- the dispatcher looks whether its mutex is free
          and (not_before is null or not_before <= clock_timestamp())
        order by id limit p_send
    ), sent as (
        update steps s set sent_at = clock_timestamp(), sends = sends + 1
        from chosen where s.id = chosen.id returning s.id
    )
    select array_agg(id order by id) from sent
$$;

-- What the caller should publish now, marked as sent. `link`: the row that Celery itself will
-- publish next. `run`: rows to publish; as one chain when `chain` (the rows behind the first are
-- still pending and are claimed only once they were promoted).
create function send_next(e executions, p_link bigint, p_send int) returns jsonb
language plpgsql as $$
declare
    v_ids bigint[]; v_run jsonb;
begin
    if e.stage < e.stages and e.stage_open = 1 then
        select array[id] into v_ids from steps
        where execution_id = e.id and stage = e.stage and state = 'queued' and sent_at = now();
        if v_ids[1] = p_link then
            return jsonb_build_object('link', true, 'chain', false, 'run', '[]'::jsonb);
        end if;
    end if;
    if e.stage < e.stages and e.stage_open > 0 and v_ids is null then
        v_ids := mark_sent(e, p_send);
    end if;
    if v_ids is null then
        return jsonb_build_object('link', false, 'chain', false, 'run', '[]'::jsonb);
    end if;
    if e.stage_open = 1 then v_ids := v_ids || followers(e.id, e.stage); end if;
    select jsonb_agg(jsonb_build_array(s.id, s.attempt, s.queue, s.tool, s.operation, s.position)
                     order by s.id)
    into v_run from steps s where s.id = any (v_ids);
    return jsonb_build_object('link', false, 'chain', e.stage_open = 1, 'run', v_run,
                              'targets', e.stage_open, 'name', e.name);
end $$;

-- Ids of up to nine rows that may ride in one chain behind `p_stage`.
create function followers(p_execution uuid, p_stage int) returns bigint[]
language plpgsql stable as $$
declare
    v_ids bigint[] := '{}'; r record;
begin
    for r in select id, linkable from steps
             where execution_id = p_execution and stage > p_stage and stage <= p_stage + 9
             order by stage, id loop
        exit when not r.linkable;
        v_ids := v_ids || r.id;
    end loop;
    return v_ids;
end $$;

create function open_execution(p_execution jsonb, p_steps jsonb, p_send int) returns jsonb
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    e executions; v_first bigint;
begin
    insert into executions (id, tenant, name, principal_id, idempotency_key, plan_digest,
                            source, warnings, state, stage, stages, finally_stage, stage_open)
    select x.id, x.tenant, x.name, x.principal_id, x.idempotency_key, x.plan_digest,
           x.source, x.warnings, 'running', -1, x.stages, x.finally_stage, 0
    from jsonb_to_record(p_execution) as x (
        id uuid, tenant text, name text, principal_id int, idempotency_key text, plan_digest text,
        source text, warnings text[], stages int, finally_stage int)
    on conflict (tenant, principal_id, idempotency_key) do nothing
    returning * into e;
    if not found then
        select * into e from executions
        where tenant = p_execution ->> 'tenant'
          and principal_id = (p_execution ->> 'principal_id')::int
          and idempotency_key = p_execution ->> 'idempotency_key';
        return jsonb_build_object('created', false, 'execution_id', e.id, 'state', e.state,
                                  'same', e.plan_digest = p_execution ->> 'plan_digest');
    end if;
    insert into execution_plans (execution_id, plan) values (e.id, p_execution -> 'plan');
    insert into steps (tenant, execution_id, principal_id, position, key, target_index, stage,
                       tool, operation, domain, queue, effect, repeat, linkable, dynamic, template,
                       parameters, target, asset_id, secrets, on_failure, timeout_s,
                       queue_timeout_s, max_retries, backoff_s, needs, mutex, state)
    select e.tenant, e.id, e.principal_id, x.position, x.key, x.target_index, x.stage,
           x.tool, x.operation, x.domain, x.queue, x.effect, x.repeat, x.linkable, x.dynamic,
           x.template, x.parameters, x.target, x.asset_id, x.secrets, x.on_failure, x.timeout_s,
           x.queue_timeout_s, x.max_retries, x.backoff_s, x.needs, x.mutex, 'pending'
    from jsonb_to_recordset(p_steps) as x (
        position int, key text, target_index int, stage int, tool text, operation text,
        domain text, queue text, effect text, repeat text, linkable boolean, dynamic boolean,
        template jsonb, parameters jsonb, target jsonb, asset_id int, secrets text[],
        on_failure text, timeout_s float, queue_timeout_s float, max_retries int,
        backoff_s float, needs jsonb, mutex text)
    order by x.stage, x.target_index;
    perform tell(e.tenant, e.id, null, 'execution.accepted', p_execution ->> 'principal',
                 jsonb_build_object('name', e.name, 'source', e.source,
                                    'rows', jsonb_array_length(p_steps)));
    e := keep(advance(e, p_send));
    if p_send = 0 then perform pg_notify('opsfarm_dispatch', 'unsent'); end if;
    return send_next(e, null, p_send)
        || jsonb_build_object('created', true, 'execution_id', e.id, 'state', e.state);
end $$;

create function claim_step(
    p_step bigint, p_attempt int, p_token uuid, p_worker text, p_queues text[]
) returns jsonb language plpgsql security definer set search_path = public, pg_temp as $$
declare
    s steps; e executions; p principals; v_holder bigint;
begin
    select * into s from steps where id = p_step;
    if not found or s.state <> 'queued' or s.attempt <> p_attempt
       or not s.queue = any (p_queues) or not may_touch(s.domain)
       or s.not_before > clock_timestamp() then
        return null;
    end if;
    -- Losing an unsynced claim in a crash is harmless: an unarmed step runs again.
    perform set_config('synchronous_commit', 'off', true);
    select * into e from executions where id = s.execution_id;
    select * into p from principals where id = s.principal_id;
    if p.revoked_at is not null or p.role not in ('operator', 'admin') then
        return jsonb_build_object('settled', settle(
            p_step, null, '{queued}', 'failed', 'refused_by_policy', jsonb_build_object(
                'summary', format('%s may no longer run plans', p.name)), null, 0));
    end if;
    if s.stage < e.cancel_below then return null; end if;
    begin
        select id into v_holder from steps
        where s.mutex is not null and tenant = s.tenant and mutex = s.mutex
          and state in ('running', 'interrupted');
        if not found then
            update steps set state = 'running', attempt = attempt + 1, token = p_token,
                heartbeats = 0, armed = null, worker = p_worker, blocked_by = null, reason = null,
                started_at = clock_timestamp()
            where id = p_step and state = 'queued' and attempt = p_attempt
            returning * into s;
            if not found then return null; end if;
        end if;
    exception when unique_violation then  -- the backstop: somebody took the mutex just now
        select id into v_holder from steps
        where tenant = s.tenant and mutex = s.mutex and state in ('running', 'interrupted');
    end;
    if s.state = 'queued' then
        update steps set sent_at = null, blocked_by = v_holder
        where id = p_step and state = 'queued' and attempt = p_attempt;
        return null;
    end if;
    perform tell(s.tenant, s.execution_id, s.id, 'step.running', p_worker, step_facts(s));
    return jsonb_build_object(
        'id', s.id, 'execution_id', s.execution_id, 'tenant', s.tenant, 'plan_name', e.name,
        'position', s.position, 'key', s.key, 'tool', s.tool, 'operation', s.operation,
        'effect', s.effect, 'repeat', s.repeat, 'parameters', s.parameters, 'target', s.target,
        'attempt', s.attempt, 'timeout_s', s.timeout_s, 'backoff_s', s.backoff_s,
        'retries_left', s.max_retries + 1 - s.attempt, 'secrets', s.secrets, 'principal', p.name);
end $$;

-- One call for a process: its running steps are alive. Returns the tokens that are still its own
-- and those that should stop.
create function heartbeat(p_worker text, p_tokens uuid[]) returns jsonb
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    v_answer jsonb;
begin
    perform set_config('synchronous_commit', 'off', true);
    update workers set seen_at = clock_timestamp(), stopped_at = null where name = p_worker;
    with alive as (
        -- An interrupted one is alive, too: its worker may still bring the late result.
        update steps set heartbeats = heartbeats + 1
        where token = any (p_tokens) and state in ('running', 'interrupted')
        returning token, execution_id, stage, state
    )
    select jsonb_build_object(
        'mine', coalesce(jsonb_agg(a.token), '[]'),
        'stop', coalesce(jsonb_agg(a.token) filter (
            where a.state = 'running' and a.stage < e.cancel_below), '[]'))
    into v_answer from alive a join executions e on e.id = a.execution_id;
    return v_answer;
end $$;

-- Immediately before the first irreversible action. False: do not act.
create function arm_step(p_step bigint, p_token uuid) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
begin
    update steps s set armed = clock_timestamp()
    from executions e
    where s.id = p_step and s.token = p_token and s.state = 'running' and may_touch(s.domain)
      and e.id = s.execution_id and s.stage >= e.cancel_below;
    return found;
end $$;

-- Bring a row to a final state. `p_token` null: nobody holds it (sweeper, dispatcher, person).
create function settle(
    p_step bigint, p_token uuid, p_from text[], p_state text, p_reason text, p_result jsonb,
    p_link bigint, p_send int
) returns jsonb language plpgsql security definer set search_path = public, pg_temp as $$
declare
    e executions; s steps; v_before text; v_stage int;
begin
    select x.* into e from executions x
    where x.id = (select execution_id from steps where id = p_step) for update;
    select * into s from steps where id = p_step for update;
    if not found or not s.state = any (p_from) or not may_touch(s.domain)
       or (p_token is not null and s.token is distinct from p_token) then
        return jsonb_build_object('accepted', false, 'state', s.state);
    end if;
    v_before := s.state;
    update steps set state = p_state, result = p_result, finished_at = clock_timestamp(),
        reason = case when v_before = 'interrupted' and p_token is not null
                      then 'late_result' else p_reason end
    where id = p_step returning * into s;
    e.stage_open := e.stage_open - 1;
    if v_before = 'interrupted' then e.interrupted := e.interrupted - 1; end if;
    if v_before = 'waiting' then e.waiting := e.waiting - 1; end if;
    if p_state = 'failed' then
        e.failed := e.failed + 1;
        e.stopping := e.stopping or (s.on_failure = 'stop' and s.stage < e.finally_stage);
    elsif p_state = 'cancelled' then
        e.cancelled := e.cancelled + 1;
    end if;
    v_stage := e.stage;
    e := advance(e, p_send);
    perform tell(s.tenant, s.execution_id, s.id, 'step.' || p_state, s.worker,
                 step_facts(s) || jsonb_build_object('summary', p_result -> 'summary',
                                                     'stage', e.stage));
    e := keep(e);
    if s.mutex is not null then perform pg_notify('opsfarm_dispatch', 'mutex'); end if;
    if s.effect = 'read' and e.finished_at is null then
        perform set_config('synchronous_commit', 'off', true);
    end if;
    -- Within a stage each end makes room for one row more; only a new stage opens the window.
    return send_next(e, p_link, case when e.stage = v_stage then least(p_send, 1) else p_send end)
        || jsonb_build_object('accepted', true, 'execution_state', e.state);
end $$;

create function finish_step(
    p_step bigint, p_token uuid, p_state text, p_reason text, p_result jsonb,
    p_link bigint, p_send int
) returns jsonb language sql security definer set search_path = public, pg_temp as $$
    select settle(p_step, p_token, '{running,interrupted}', p_state, p_reason, p_result,
                  p_link, p_send)
$$;

-- A failure that may be tried again: back to the queue, later. False: no retry is allowed.
-- An unknown outcome that may be repeated has three starts, whatever the plan says of retries.
create function retry_step(
    p_step bigint, p_token uuid, p_reason text, p_result jsonb, p_unknown boolean default false
) returns boolean language plpgsql security definer set search_path = public, pg_temp as $$
declare
    e executions; s steps;
begin
    select x.* into e from executions x
    where x.id = (select execution_id from steps where id = p_step) for update;
    -- Not a cancelled one: nobody could ever claim it again.
    update steps set state = 'queued', token = null, sent_at = null, reason = p_reason,
        result = p_result, queued_at = clock_timestamp(),
        not_before = clock_timestamp() + make_interval(secs => backoff_s * (2 ^ (attempt - 1)))
    where id = p_step and token = p_token and state = 'running' and may_touch(domain)
      and (attempt <= max_retries or (p_unknown and attempt < 3))
      and stage >= e.cancel_below
      and (armed is null or repeat in ('read', 'transactional', 'idempotent', 'keyed'))
    returning * into s;
    if not found then return false; end if;
    perform tell(s.tenant, s.execution_id, s.id, 'step.queued', s.worker,
                 step_facts(s) || jsonb_build_object('summary', p_result -> 'summary'));
    if s.mutex is not null then perform pg_notify('opsfarm_dispatch', 'mutex'); end if;
    return true;
end $$;

-- The outcome is unknown and repeating is not safe: a person decides; the mutex stays held.
create function interrupt_step(p_step bigint, p_token uuid, p_reason text, p_result jsonb)
returns boolean language plpgsql security definer set search_path = public, pg_temp as $$
declare
    e executions; s steps;
begin
    select x.* into e from executions x
    where x.id = (select execution_id from steps where id = p_step) for update;
    update steps set state = 'interrupted', reason = p_reason, result = p_result
    where id = p_step and token = p_token and state = 'running' and armed is not null
      and may_touch(domain)
    returning * into s;
    if not found then return false; end if;
    e.interrupted := e.interrupted + 1;
    perform tell(s.tenant, s.execution_id, s.id, 'step.interrupted', s.worker,
                 step_facts(s) || jsonb_build_object('summary', p_result -> 'summary'));
    perform keep(e);
    return true;
end $$;

-- Drain: a running step that has not armed goes back to the queue as if never started; one that
-- was cancelled meanwhile ends here, since nobody could ever claim it again.
create function release_step(p_step bigint, p_token uuid) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    e executions; s steps;
begin
    select x.* into e from executions x
    where x.id = (select execution_id from steps where id = p_step) for update;
    select * into s from steps
    where id = p_step and token = p_token and state = 'running' and armed is null
      and may_touch(domain) for update;
    if not found then return false; end if;
    if s.stage < e.cancel_below then
        perform settle(p_step, p_token, '{running}', 'cancelled', 'stopped', jsonb_build_object(
            'summary', 'stopped before it began', 'stopped', 'verified'), null, 0);
        perform pg_notify('opsfarm_dispatch', 'released');
        return true;
    end if;
    update steps set state = 'queued', token = null, sent_at = null, worker = null,
        attempt = attempt - 1, queued_at = clock_timestamp()
    where id = p_step returning * into s;
    perform tell(s.tenant, s.execution_id, s.id, 'step.queued', null, step_facts(s));
    perform pg_notify('opsfarm_dispatch', 'released');
    return true;
end $$;

-- Messages that were not delivered, or that a stopping worker will not serve.
create function unsend_steps(p_steps bigint[]) returns int
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    v_rows int;
begin
    update steps set sent_at = null, sends = sends - 1
    where id = any (p_steps) and state = 'queued' and sent_at is not null;
    get diagnostics v_rows = row_count;
    perform pg_notify('opsfarm_dispatch', 'unsent');
    return v_rows;
end $$;

-- The sweeper saw no heartbeat for a whole lease. What follows depends on armed and repeat.
create function reap_step(p_step bigint, p_token uuid, p_heartbeats int, p_starts int, p_backoff_s float)
returns jsonb language plpgsql security definer set search_path = public, pg_temp as $$
declare
    e executions; s steps; v_result jsonb;
begin
    select x.* into e from executions x
    where x.id = (select execution_id from steps where id = p_step) for update;
    select * into s from steps where id = p_step and state = 'running' and token = p_token
        and heartbeats = p_heartbeats for update;
    if not found then return jsonb_build_object('reaped', false); end if;
    v_result := jsonb_build_object(
        'summary', format('worker %s was lost after %s start(s)', s.worker, s.attempt));
    if s.armed is not null and s.repeat not in ('read', 'transactional', 'idempotent', 'keyed') then
        perform interrupt_step(p_step, p_token, 'worker_lost', v_result);
        return jsonb_build_object('reaped', true, 'to', 'interrupted', 'run', '[]'::jsonb);
    end if;
    if s.stage < e.cancel_below then
        v_result := v_result || '{"stopped": "unverified"}';  -- it may run on, unseen
        return settle(p_step, p_token, '{running}', 'cancelled', 'stopped', v_result, null, 0)
            || jsonb_build_object('reaped', true, 'to', 'cancelled');
    end if;
    if s.attempt >= greatest(p_starts, s.max_retries + 1) then
        return settle(p_step, p_token, '{running}', 'failed', 'worker_lost', v_result, null, 0)
            || jsonb_build_object('reaped', true, 'to', 'failed');
    end if;
    update steps set state = 'queued', token = null, sent_at = null, reason = 'worker_lost',
        queued_at = clock_timestamp(),
        not_before = clock_timestamp() + make_interval(secs => p_backoff_s * (s.attempt - 1))
    where id = p_step returning * into s;
    perform tell(s.tenant, s.execution_id, s.id, 'step.queued', null,
                 step_facts(s) || v_result);
    if s.mutex is not null then perform pg_notify('opsfarm_dispatch', 'mutex'); end if;
    return jsonb_build_object('reaped', true, 'to', 'queued', 'run', '[]'::jsonb);
end $$;

-- The dispatcher's outbox: rows of one queue to publish now, oldest first, fair between
-- principals, marked as sent. `p_resend_s` null: nothing was lost, only unsent rows.
create function take_unsent(p_queue text, p_limit int, p_resend_s float) returns jsonb
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    v_run jsonb;
begin
    with chosen as (
        select c.id, c.rank from principals p cross join lateral (
            select s.id, row_number() over (order by s.queued_at) as rank from (
                select i.id, i.queued_at from steps i
                where i.queue = p_queue and i.principal_id = p.id and i.state = 'queued'
                  and (i.sent_at is null
                       or i.sent_at < clock_timestamp() - make_interval(secs => p_resend_s))
                  and (i.not_before is null or i.not_before <= clock_timestamp())
                  and (i.mutex is null or not exists (
                       select 1 from steps o where o.tenant = i.tenant and o.mutex = i.mutex
                         and o.state in ('running', 'interrupted')))
                order by i.queued_at limit p_limit
            ) s
        ) c order by c.rank, c.id limit p_limit
    ), locked as (
        select s.id from steps s join chosen using (id)
        where s.state = 'queued'
          and (s.sent_at is null
               or s.sent_at < clock_timestamp() - make_interval(secs => p_resend_s))
        for update of s skip locked
    ), sent as (
        update steps s set sent_at = clock_timestamp(), sends = sends + 1
        from locked where s.id = locked.id returning s.*
    )
    select jsonb_agg(jsonb_build_array(s.id, s.attempt, s.queue, s.tool, s.operation, s.position,
                                       e.name) order by s.queued_at)
    into v_run from sent s join executions e on e.id = s.execution_id;
    return coalesce(v_run, '[]');
end $$;

-- Rows that waited longer in the queue than their plan allows.
create function expire_queued(p_limit int) returns int
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    r record; v_count int := 0;
begin
    for r in select s.id, s.queue_timeout_s, s.queue, s.blocked_by from steps s
             where s.state = 'queued'
               and s.queued_at < clock_timestamp() - make_interval(secs => s.queue_timeout_s)
             order by s.execution_id, s.id limit p_limit loop
        perform settle(r.id, null, '{queued}', 'failed', 'queue_timeout', jsonb_build_object(
            'summary', case when r.blocked_by is null
                then format('no worker of queue %s took it within %s s', r.queue,
                            r.queue_timeout_s)
                else format('step %s held its asset for more than %s s', r.blocked_by,
                            r.queue_timeout_s) end), null, 0);
        v_count := v_count + 1;
    end loop;
    return v_count;
end $$;

-- A dynamic step was rendered: its rows take the place of the one that stood for it.
create function expand_step(p_step bigint, p_rows jsonb, p_send int) returns jsonb
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    e executions; s steps;
begin
    select x.* into e from executions x
    where x.id = (select execution_id from steps where id = p_step) for update;
    select * into s from steps where id = p_step and state = 'due' for update;
    if not found then return jsonb_build_object('accepted', false); end if;
    update steps set state = 'queued', parameters = x.parameters, target = x.target,
        asset_id = x.asset_id, secrets = x.secrets, mutex = x.mutex, queue = x.queue,
        effect = x.effect, repeat = x.repeat, timeout_s = x.timeout_s, needs = x.needs,
        queued_at = clock_timestamp()
    from jsonb_to_record(p_rows -> 0) as x (
        parameters jsonb, target jsonb, asset_id int, secrets text[], mutex text, queue text,
        effect text, repeat text, timeout_s float, needs jsonb)
    where id = p_step;
    insert into steps (tenant, execution_id, principal_id, position, key, target_index, stage,
                       tool, operation, domain, queue, effect, repeat, linkable, dynamic, template,
                       parameters, target, asset_id, secrets, on_failure, timeout_s,
                       queue_timeout_s, max_retries, backoff_s, needs, mutex, state, queued_at)
    select s.tenant, s.execution_id, s.principal_id, s.position, s.key, r.ordinality - 1, s.stage,
           s.tool, s.operation, s.domain, x.queue, x.effect, x.repeat, false, true, null,
           x.parameters, x.target, x.asset_id, x.secrets, s.on_failure, x.timeout_s,
           s.queue_timeout_s, s.max_retries, s.backoff_s, x.needs, x.mutex, 'queued',
           clock_timestamp()
    from jsonb_array_elements(p_rows) with ordinality as r,
         jsonb_to_record(r.value) as x (
             parameters jsonb, target jsonb, asset_id int, secrets text[], mutex text, queue text,
             effect text, repeat text, timeout_s float, needs jsonb)
    where r.ordinality > 1
    order by r.ordinality;
    e.stage_open := e.stage_open + jsonb_array_length(p_rows) - 1;
    perform tell(s.tenant, s.execution_id, s.id, 'step.queued', null,
                 step_facts(s) || jsonb_build_object('rows', jsonb_array_length(p_rows)));
    e := keep(e);
    return send_next(e, null, p_send) || jsonb_build_object('accepted', true);
end $$;

-- Stop what has not started and ask the running ones to stop. Cancelling the main part leaves
-- `finally` to run; cancelling once that runs stops it, too.
create function cancel_execution(p_id uuid, p_actor text, p_reason text, p_send int) returns jsonb
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    e executions; v_below int;
begin
    select * into e from executions where id = p_id for update;
    if not found then return null; end if;
    v_below := case when e.stage < e.finally_stage then e.finally_stage else e.stages end;
    if e.finished_at is not null or e.cancel_below >= v_below then
        return jsonb_build_object('accepted', false, 'state', e.state,
                                  'asked', e.cancel_requested_at is not null);
    end if;
    e.cancel_below := v_below;
    e.cancel_requested_at := clock_timestamp();
    e.cancelled_by := p_actor;
    e.cancel_reason := p_reason;
    perform tell(e.tenant, e.id, null, 'execution.cancel_requested', p_actor,
                 jsonb_build_object('reason', p_reason));
    e := close_unstarted(e, e.stage, v_below, 'cancelled', '{pending,due,waiting,queued}');
    e := keep(advance(e, p_send));
    perform pg_notify('opsfarm_cancel', e.id::text);
    return send_next(e, null, p_send)
        || jsonb_build_object('accepted', true, 'state', e.state);
end $$;

-- The sealed columns of a secret, for the step that names it and its present holder only.
create function get_secret(p_step bigint, p_token uuid, p_name text) returns setof secrets
language sql security definer set search_path = public, pg_temp as $$
    select x.* from secrets x join steps s on x.tenant = s.tenant
    where s.id = p_step and s.token = p_token and s.state = 'running' and may_touch(s.domain)
      and x.name = p_name and x.kind = 'secret' and p_name = any (s.secrets)
$$;

-- The newest login of the step's own asset, for its present holder only.
create function get_credential(p_step bigint, p_token uuid) returns setof secrets
language sql security definer set search_path = public, pg_temp as $$
    select x.* from secrets x join steps s on x.tenant = s.tenant
    where s.id = p_step and s.token = p_token and s.state = 'running' and may_touch(s.domain)
      and x.kind = 'credential' and x.asset_id = s.asset_id
    order by x.updated_at desc limit 1
$$;

-- Events tell what happened; nobody rewrites that.
create function refuse_rewrite() returns trigger language plpgsql as $$
begin
    raise exception 'events are append-only';
end $$;
create trigger events_append_only before update on events
    for each row execute function refuse_rewrite();

-- Nobody but their owner may call these. A role of its own for a domain's workers needs
-- claim_step, heartbeat, arm_step, finish_step, retry_step, interrupt_step, release_step,
-- unsend_steps, get_secret and get_credential, and nothing of the tables behind them.
revoke execute on all functions in schema public from public;
