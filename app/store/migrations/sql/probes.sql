-- An interrupted row with `repeat: probe` is settled by its operation's own look. The dispatcher
-- has a worker look a few times (`take_probes`), whoever claims the row's next attempt looks
-- (`claim_probe`), and what was seen decides (`probe_step`); after that it is a person's. The
-- columns `probe_at` and `probes_left` count while the row is interrupted, and `sent_at` says
-- there since when a worker is asked.

-- What a worker is told of a row that it runs, or looks after.
create function step_json(s steps, p_plan text, p_principal text) returns jsonb
language sql stable as $$
    select jsonb_build_object(
        'id', s.id, 'execution_id', s.execution_id, 'tenant', s.tenant, 'plan_name', p_plan,
        'position', s.position, 'key', s.key, 'tool', s.tool, 'operation', s.operation,
        'effect', s.effect, 'repeat', s.repeat, 'parameters', s.parameters, 'target', s.target,
        'attempt', s.attempt, 'timeout_s', s.timeout_s, 'backoff_s', s.backoff_s,
        'retries_left', s.max_retries + 1 - s.attempt, 'secrets', s.secrets,
        'principal', p_principal, 'run_as', s.run_as, 'bound', s.bound)
$$;

-- The queues in which a probe is to be asked now.
create function probe_queues() returns setof text
language sql stable security definer set search_path = public, pg_temp as $$
    select distinct queue from steps
    where state = 'interrupted' and probes_left > 0 and probe_at <= clock_timestamp()
$$;

-- Rows of one queue whose probe is to be asked now, in the shape of take_unsent. A message that
-- is lost is sent again after `p_resend_s`, while asks are left.
create function take_probes(p_queue text, p_limit int, p_resend_s float) returns jsonb
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    v_run jsonb;
begin
    with locked as (
        select id from steps
        where state = 'interrupted' and probes_left > 0 and probe_at <= clock_timestamp()
          and queue = p_queue
        order by probe_at limit p_limit for update skip locked
    ), asked as (
        update steps s set probes_left = probes_left - 1, sent_at = clock_timestamp(),
            probe_at = clock_timestamp() + make_interval(secs => p_resend_s)
        from locked where s.id = locked.id returning s.*
    )
    select jsonb_agg(jsonb_build_array(s.id, s.attempt, s.queue, s.tool, s.operation, s.position,
                                       e.name) order by s.id)
    into v_run from asked s join executions e on e.id = s.execution_id;
    return coalesce(v_run, '[]');
end $$;

-- A worker may look what became of an interrupted row; null: it may not. The row's state stays: its
-- worker may still bring the result, and looking twice is harmless. Nobody else is asked while it
-- looks, for two minutes.
create function claim_probe(p_row steps, p_queues text[]) returns jsonb language plpgsql as $$
declare
    s steps; e executions; p principals;
begin
    select * into p from principals where id = p_row.principal_id;
    if p.revoked_at is not null or p.role not in ('operator', 'admin') then return null; end if;
    update steps set probe_at = clock_timestamp() + interval '2 minutes'
    where id = p_row.id and state = 'interrupted' and attempt = p_row.attempt
      and repeat = 'probe' and armed is not null and probe_at is not null
      and queue = any (p_queues) and may_touch(domain)
    returning * into s;
    if not found then return null; end if;
    select * into e from executions where id = s.execution_id;
    return step_json(s, e.name, p.name) || jsonb_build_object(
        'token', s.token, 'probe', jsonb_build_object(
            'asked_at', clock_timestamp(), 'before', s.result -> 'before'));
end $$;

-- From when on nothing of the effect is on its way any more: its worker ends it at its deadline,
-- and where that worker is lost the wrapper of a remote command does, 15 s later.
create function acts_until(s steps) returns timestamptz language sql stable as $$
    select s.armed + make_interval(secs => s.timeout_s + 20)
$$;

-- What the probe of an interrupted row found last ('not asked' yet), whether it is asked now
-- (`asked_at`), to be asked as soon as a worker is there (`due`) or later (`next_at`), and from when
-- on it counts that nothing is seen.
create function probe_evidence(s steps) returns jsonb language sql stable as $$
    select jsonb_build_object(
        'found', case when s.reason in ('worker_lost', 'stopped') and s.sent_at is null
                      then 'not asked' else 'no answer' end,
        'asked_at', case when s.probe_at > clock_timestamp() then s.sent_at end,
        'due', s.probes_left > 0 and s.probe_at <= clock_timestamp(),
        'next_at', case when s.probes_left > 0 and s.probe_at > clock_timestamp()
                        then s.probe_at end,
        'counts_at', acts_until(s))
    || coalesce((
        select v.data -> 'probe' || jsonb_build_object('at', v.at) from events v
        where v.execution_id = s.execution_id and v.step_id = s.id and v.data ? 'probe'
          and v.at >= s.started_at
        order by v.id desc limit 1), '{}')
$$;

-- What a worker that was asked at `p_asked_at` saw: 'done'; 'not done', which counts once nothing
-- is on its way any more (the row may run again while it has starts left); or 'no answer' (asked
-- again after `p_pause_s` while asks are left, then a person decides).
create function probe_step(
    p_step bigint, p_token uuid, p_found text, p_asked_at timestamptz, p_result jsonb,
    p_pause_s float, p_send int
) returns jsonb language plpgsql security definer set search_path = public, pg_temp as $$
declare
    e executions; s steps; v_told jsonb;
begin
    select x.* into e from executions x
    where x.id = (select execution_id from steps where id = p_step) for update;
    select * into s from steps where id = p_step for update;
    if not found or s.state <> 'interrupted' or s.repeat <> 'probe' or s.armed is null
       or s.token is distinct from p_token or not may_touch(s.domain) then
        return jsonb_build_object('accepted', false, 'state', s.state);
    end if;
    v_told := jsonb_build_object('probe', jsonb_build_object(
        'found', p_found, 'evidence', p_result -> 'output', 'why', p_result -> 'summary'));
    if p_found = 'done' then
        return settle_probed(s, 'succeeded', 'resolved', p_result, p_send, v_told);
    elsif p_found = 'no answer' then
        update steps set sent_at = null, probe_at = case when probes_left > 0
            then clock_timestamp() + make_interval(secs => p_pause_s) end
        where id = p_step;
    elsif p_asked_at < acts_until(s) then
        update steps set sent_at = null, probe_at = acts_until(s),
            probes_left = greatest(probes_left, 1)
        where id = p_step;
    elsif s.stage < e.cancel_below then
        return settle_probed(s, 'cancelled', 'stopped', p_result, p_send, v_told);
    elsif s.attempt < greatest(3, s.max_retries + 1) then
        return requeue(e, s, 'probe', v_told, p_send);
    else
        return settle_probed(s, 'failed', 'not_verified', p_result, p_send, v_told);
    end if;
    perform tell(s.tenant, s.execution_id, s.id, 'probe.answered', null, step_facts(s) || v_told);
    if p_found <> 'no answer' then perform pg_notify('opsfarm_dispatch', 'probe'); end if;
    return jsonb_build_object('accepted', true, 'state', 'interrupted');
end $$;

-- The end that a probe found. Without a token what its worker still says is known to be late.
create function settle_probed(
    s steps, p_state text, p_reason text, p_result jsonb, p_send int, p_told jsonb
) returns jsonb language plpgsql as $$
begin
    update steps set token = null where id = s.id;
    return settle(s.id, null, '{interrupted}', p_state, p_reason, p_result - 'output', null,
                  p_send, 'probe', p_told);
end $$;

-- A person has the probe asked again. Null: there is no such row.
create function ask_probe(
    p_execution uuid, p_step bigint, p_actor text, p_reason text, p_from text
) returns jsonb language plpgsql security definer set search_path = public, pg_temp as $$
declare
    s steps; v_why text;
begin
    select * into s from steps where id = p_step and execution_id = p_execution for update;
    if not found then return null; end if;
    v_why := case
        when s.state <> 'interrupted' then 'state'
        when s.repeat <> 'probe' then 'no_probe'
        when s.sent_at is not null and s.probe_at > clock_timestamp() then 'asked' end;
    if v_why is not null then
        return jsonb_build_object('accepted', false, 'state', s.state, 'why', v_why);
    end if;
    update steps set probe_at = clock_timestamp(), probes_left = 3, sent_at = null
    where id = p_step;
    perform tell(s.tenant, s.execution_id, s.id, 'probe.asked', p_actor,
                 step_facts(s) || jsonb_build_object('why', p_reason, 'from', p_from));
    perform pg_notify('opsfarm_dispatch', 'probe');
    return jsonb_build_object('accepted', true);
end $$;
