-- Rows of one execution, their stages counted from `p_stage`; gives the ids of those that begin
-- first, of the first stage that has anything to do. A step with nothing to do is skipped from the start. `p_places`: the
-- ids of placeholders by position, which the first row of each takes over.
create function insert_steps(e executions, p_rows jsonb, p_stage int, p_places jsonb)
returns bigint[] language sql as $$
    with made as (
        insert into steps (
            id, undoes, tenant,
            execution_id, principal_id, position, key, target_index, stage, tool,
            operation, domain, queue, effect, repeat, linkable, dynamic, template, parameters,
            target, asset_id, item, run_as, secrets, on_failure, max_parallel, max_failures, block,
            block_on_failure, timeout_s, queue_timeout_s, max_retries, backoff_s, needs, mutex,
            bound, caps, cap_group, state, result, finished_at)
        overriding system value
        select coalesce(case when x.first then (p_places ->> x.position::text)::bigint end,
                        nextval('steps_id_seq')),
               x.undoes, e.tenant,
               e.id, e.principal_id, x.position, x.key, x.target_index, p_stage + x.stage,
               x.tool, x.operation, x.domain, x.queue, x.effect, x.repeat, x.linkable, x.dynamic,
               x.template, x.parameters, x.target, x.asset_id, x.item, x.run_as, x.secrets,
               x.on_failure, x.max_parallel, x.max_failures, x.block, x.block_on_failure,
               x.timeout_s, x.queue_timeout_s, x.max_retries, x.backoff_s, x.needs, x.mutex,
               x.bound, x.caps, md5(x.caps::text), case when x.skipped is null then 'pending' else 'skipped' end,
               case when x.skipped is not null then jsonb_build_object('summary', x.skipped) end,
               case when x.skipped is not null then clock_timestamp() end
        from (
            select * from jsonb_to_recordset(p_rows) as r (
                undoes bigint,
                position int, key text, target_index int, stage int, tool text, operation text,
                domain text, queue text, effect text, repeat text, linkable boolean,
                dynamic boolean, template jsonb, parameters jsonb, target jsonb, asset_id int,
                item jsonb, run_as text, secrets text[], on_failure text, max_parallel int,
                max_failures int, block int, block_on_failure text, timeout_s float,
                queue_timeout_s float, max_retries int, backoff_s float, needs jsonb, mutex text,
                bound jsonb, caps jsonb, skipped text, first boolean)
            order by r.stage, r.position, r.target_index
        ) x
        returning *
    ), told as (
        insert into events (tenant, execution_id, step_id, kind, actor, data)
        select m.tenant, m.execution_id, m.id, 'step.skipped', null,
               step_facts(m) || jsonb_build_object('summary', m.result -> 'summary')
        from made m where m.state = 'skipped'
    )
    select array_agg(id) from made where state = 'pending' and stage = (
        select min(stage) from made where state = 'pending')
$$;

create function open_execution(p_execution jsonb, p_steps jsonb, p_send int) returns jsonb
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    e executions; v_ids bigint[];
begin
    insert into executions (id, tenant, name, principal_id, idempotency_key, plan_digest,
                            source, plan_name, plan_version, rerun_of, reason,
                            approval_timeout_s, timeout_s, deadline, warnings, state, stage,
                            stages, finally_stage, stage_open, shaped)
    select x.id, x.tenant, x.name, x.principal_id, x.idempotency_key, x.plan_digest,
           x.source, x.plan_name, x.plan_version, x.rerun_of, x.reason, x.approval_timeout_s,
           x.timeout_s, clock_timestamp() + make_interval(secs => x.timeout_s), x.warnings,
           'running', -1, x.stages, x.finally_stage, 0, x.shaped
    from jsonb_to_record(p_execution) as x (
        id uuid, tenant text, name text, principal_id int, idempotency_key text, plan_digest text,
        source text, plan_name text, plan_version int, rerun_of uuid, reason text,
        approval_timeout_s float, timeout_s float, warnings text[], stages int, finally_stage int,
        shaped boolean)
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
    insert into execution_plans (execution_id, plan, tools)
    values (e.id, p_execution -> 'plan', coalesce(p_execution -> 'tools', '{}'));
    perform tell(e.tenant, e.id, null, 'execution.accepted', p_execution ->> 'principal',
                 jsonb_build_object('name', e.name, 'source', e.source,
                                    'rows', jsonb_array_length(p_steps)));
    v_ids := insert_steps(e, p_steps, 0, '{}');
    if p_execution ? 'approval' then
        e := ask_approval(e, null, v_ids, p_execution -> 'approval');
    end if;
    e := keep(advance(e, p_send));
    if p_send = 0 then perform pg_notify('opsfarm_dispatch', 'unsent'); end if;
    return send_next(e, null, 0, p_send)
        || jsonb_build_object('created', true, 'execution_id', e.id, 'state', e.state);
end $$;

-- Nobody needs to decide any more. True: nothing had begun, so there is nothing to clean up.
create function withdraw_approvals(e executions) returns boolean language plpgsql as $$
declare
    a approvals; v_untouched boolean := false;
begin
    for a in select * from approvals where execution_id = e.id and decision is null loop
        perform note_decision(a, 'withdrawn', null, 'the execution was cancelled');
        v_untouched := v_untouched or a.step_id is null;
    end loop;
    return v_untouched;
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
    if e.waiting > 0 and withdraw_approvals(e) then v_below := e.stages; end if;
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
    if p_send = 0 then perform pg_notify('opsfarm_dispatch', 'unsent'); end if;
    return send_next(e, null, 0, p_send)
        || jsonb_build_object('accepted', true, 'state', e.state);
end $$;


-- Executions that took longer than their plan allows are cancelled, once: `finally` runs.
create function expire_executions(p_limit int) returns int
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    e executions; v_count int := 0;
begin
    for e in select * from executions
             where deadline < clock_timestamp() order by deadline limit p_limit
             for update skip locked loop
        update executions set deadline = null where id = e.id;
        if e.finished_at is null then
            perform cancel_execution(e.id, null, format('timeout: it took longer than %s s',
                                                        e.timeout_s), 0);
            v_count := v_count + 1;
        end if;
    end loop;
    return v_count;
end $$;
