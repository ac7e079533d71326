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
        if s.state = 'interrupted' and s.attempt = p_attempt then
            return claim_probe(s, p_queues);
        end if;
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
    if s.caps is not null and not enter_caps(s) then
        update steps set sent_at = null
        where id = p_step and state = 'queued' and attempt = p_attempt;
        return null;
    end if;
    begin
        if s.mutex is not null then
            select id into v_holder from steps
            where tenant = s.tenant and mutex = s.mutex and state in ('running', 'interrupted');
        end if;
        if v_holder is null then
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
    if s.caps is not null then perform note_start(s); end if;
    perform tell(s.tenant, s.execution_id, s.id, 'step.running', p_worker, step_facts(s));
    return step_json(s, e.name, p.name);
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

-- Immediately before the first irreversible action. False: do not act. `p_before`: how the world
-- was, for whoever must find out later what came of it.
create function arm_step(p_step bigint, p_token uuid, p_before jsonb default null) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
begin
    update steps s set armed = clock_timestamp(),
        result = case when p_before is null then s.result
                      else jsonb_build_object('before', p_before) end
    from executions e
    where s.id = p_step and s.token = p_token and s.state = 'running' and may_touch(s.domain)
      and e.id = s.execution_id and s.stage >= e.cancel_below;
    return found;
end $$;

-- Bring a row to a final state. `p_token` null: nobody holds it (sweeper, dispatcher, person).
-- `p_actor`, `p_more`: who decided it, and what its event tells beside.
create function settle(
    p_step bigint, p_token uuid, p_from text[], p_state text, p_reason text, p_result jsonb,
    p_link bigint, p_send int, p_actor text default null, p_more jsonb default '{}'
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
        e := bear_failure(e, s);
    elsif p_state = 'cancelled' then
        e.cancelled := e.cancelled + 1;
    end if;
    if s.max_parallel is not null then perform release_held(s); end if;
    v_stage := e.stage;
    e := advance(e, p_send);
    perform tell(s.tenant, s.execution_id, s.id, 'step.' || p_state, coalesce(p_actor, s.worker),
                 step_facts(s) || p_more || jsonb_build_object('summary', p_result -> 'summary',
                                                               'stage', e.stage)
                     || case when p_result ? 'stopped' then jsonb_build_object(
                            'stopped', p_result -> 'stopped') else '{}' end);
    e := keep(e);
    perform tell_freed(s);
    if s.effect = 'read' and e.finished_at is null then
        perform set_config('synchronous_commit', 'off', true);
    end if;
    -- Within a stage each end makes room for one row more; only a new stage opens the window.
    return case when e.stage = v_stage then send_next(e, p_link, s.id, least(p_send, 1))
                else send_next(e, p_link, 0, p_send) end
        || jsonb_build_object('accepted', true, 'execution_state', e.state);
end $$;

-- The worker's word. What comes too late to count is kept for whoever must decide.
create function finish_step(
    p_step bigint, p_token uuid, p_state text, p_reason text, p_result jsonb,
    p_link bigint, p_send int
) returns jsonb language plpgsql security definer set search_path = public, pg_temp as $$
declare
    v_answer jsonb; s steps;
begin
    v_answer := settle(p_step, p_token, '{running,interrupted}', p_state, p_reason, p_result,
                       p_link, p_send);
    if not (v_answer ->> 'accepted')::boolean then
        select * into s from steps where id = p_step and attempt > 0 and may_touch(domain);
        if found and s.token is distinct from p_token then
            perform tell(s.tenant, s.execution_id, s.id, 'result.late', null,
                         step_facts(s) || jsonb_build_object(
                             'state', p_state, 'reason', p_reason,
                             'summary', p_result -> 'summary'));
        end if;
    end if;
    return v_answer;
end $$;
