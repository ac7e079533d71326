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
    perform tell_freed(s);
    return true;
end $$;

-- The outcome is unknown and repeating is not safe: the operation's probe decides, where it has
-- one, or a person; the mutex stays held.
create function interrupt_step(p_step bigint, p_token uuid, p_reason text, p_result jsonb)
returns boolean language plpgsql security definer set search_path = public, pg_temp as $$
declare
    e executions; s steps;
begin
    select x.* into e from executions x
    where x.id = (select execution_id from steps where id = p_step) for update;
    update steps set state = 'interrupted', reason = p_reason, result = p_result, sent_at = null,
        probes_left = case when repeat = 'probe' then 3 else 0 end,
        probe_at = case when repeat = 'probe' then clock_timestamp()  -- but for one just asked
            + make_interval(secs => case when p_reason in ('worker_lost', 'stopped') then 0
                                         else 10 end) end
    where id = p_step and token = p_token and state = 'running' and armed is not null
      and may_touch(domain)
    returning * into s;
    if not found then return false; end if;
    e.interrupted := e.interrupted + 1;
    perform tell(s.tenant, s.execution_id, s.id, 'step.interrupted', s.worker,
                 step_facts(s) || jsonb_build_object('summary', p_result -> 'summary')
                     || case when p_result ? 'stopped' then jsonb_build_object(
                            'stopped', p_result -> 'stopped') else '{}' end);
    perform keep(e);
    if s.caps is not null then perform tell_freed(s); end if;  -- the mutex stays held
    if s.repeat = 'probe' then perform pg_notify('opsfarm_dispatch', 'probe'); end if;
    return true;
end $$;

-- Drain: a running step that has not armed goes back to the queue as if never started; one that
-- was cancelled or given up meanwhile ends here.
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
    if s.max_failures is not null and is_given_up(s) then
        perform settle(p_step, p_token, '{running}', 'skipped', 'stopped', jsonb_build_object(
            'summary', 'not begun: too many others failed'), null, 0);
        perform pg_notify('opsfarm_dispatch', 'released');
        return true;
    end if;
    update steps set state = 'queued', token = null, sent_at = null, worker = null,
        attempt = attempt - 1, started_at = null, queued_at = clock_timestamp()
    where id = p_step returning * into s;
    perform tell(s.tenant, s.execution_id, s.id, 'step.queued', null, step_facts(s));
    perform pg_notify('opsfarm_dispatch', 'released');
    return true;
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
    if s.result ? 'before' then
        v_result := v_result || jsonb_build_object('before', s.result -> 'before');
    end if;
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
    perform tell_freed(s);
    return jsonb_build_object('reaped', true, 'to', 'queued', 'run', '[]'::jsonb);
end $$;

