-- Steps that wait for somebody's yes. What is asked for is bound to a digest; the rows that would
-- begin first wait, and with them everything behind.

-- Let rows wait. `p_ask`: {digest, needed: {who: self|other, groups: {name: count}}, shown,
-- expires_s}. `p_step`: the dynamic step that asks; null: all that is known at submit. Where the
-- reason of whoever submitted is enough, and was given, it is the yes, and nothing waits.
create function ask_approval(e executions, p_step bigint, p_ids bigint[], p_ask jsonb)
returns executions language plpgsql as $$
declare
    a approvals; p principals; v_rows int;
begin
    select * into p from principals where id = e.principal_id;
    insert into approvals (tenant, execution_id, step_id, digest, needed, shown, expires_at)
    values (e.tenant, e.id, p_step, p_ask ->> 'digest', p_ask -> 'needed', p_ask -> 'shown',
            clock_timestamp() + make_interval(secs => (p_ask ->> 'expires_s')::float))
    returning * into a;
    perform tell(e.tenant, e.id, p_step, 'approval.asked', p.name, jsonb_build_object(
        'approval_id', a.id, 'digest', a.digest, 'needed', a.needed, 'expires_at', a.expires_at,
        'reason', e.reason, 'from', e.source));
    if a.needed ->> 'who' = 'self' and e.reason is not null then
        update approvals set given = jsonb_build_array(jsonb_build_object(
            'id', p.id, 'name', p.name, 'at', clock_timestamp(), 'reason', e.reason,
            'from', e.source))
        where id = a.id;
        perform note_decision(a, 'approved', jsonb_build_object('name', p.name, 'from', e.source),
                              e.reason);
        update steps set approval_id = a.id where id = any (p_ids);
        return e;
    end if;
    update steps set state = 'waiting', approval_id = a.id
    where id = any (p_ids) and state = 'pending';
    get diagnostics v_rows = row_count;
    e.waiting := e.waiting + v_rows;
    return e;
end $$;

-- The groups of which too few members have said yes so far; whoever was revoked since does not count.
create function lacking_groups(a approvals) returns text[] language sql stable as $$
    select coalesce(array_agg(w.key), '{}')
    from jsonb_each_text(coalesce(a.needed -> 'groups', '{}')) w
    where w.value::int > (
        select count(*) from jsonb_array_elements(a.given) g
        join principals p on p.id = (g ->> 'id')::int and p.revoked_at is null
        where g -> 'groups' ? w.key)
$$;

-- Why a yes does not count; null: it does. Approvers may stand in for whoever submitted.
create function refuse_approval(
    a approvals, e executions, p_digest text, p_actor jsonb, p_reason text
) returns text language sql stable as $$
    select case
        when a.decision is not null then 'decided'
        when a.expires_at <= clock_timestamp() then 'expired'
        when a.digest <> p_digest then 'changed'
        when a.needed ->> 'who' = 'other' and (p_actor ->> 'id')::int = e.principal_id then 'own'
        when a.given @> jsonb_build_array(jsonb_build_object('id', p_actor -> 'id')) then 'again'
        when a.needed ->> 'who' = 'other' and not p_actor -> 'groups' ?| lacking_groups(a)
             or a.needed ->> 'who' = 'self' and (p_actor ->> 'id')::int <> e.principal_id
                and not p_actor -> 'groups' ? 'approver' then 'group'
        when a.needed ->> 'who' = 'self' and coalesce(trim(p_reason), '') = '' then 'no_reason'
    end
$$;

-- What has been decided, with the event that tells it. `p_actor`: {name, from}; null: nobody.
create function note_decision(a approvals, p_decision text, p_actor jsonb, p_reason text)
returns void language plpgsql as $$
begin
    update approvals set decision = p_decision, decided_by = p_actor ->> 'name', reason = p_reason,
        decided_at = clock_timestamp()
    where id = a.id;
    perform tell(a.tenant, a.execution_id, a.step_id, 'approval.' || p_decision, p_actor ->> 'name',
                 jsonb_build_object('approval_id', a.id, 'reason', p_reason,
                                    'from', p_actor -> 'from'));
end $$;

-- A yes by {id, name, groups, from}; the last one that is needed lets the rows begin. Null: there
-- is no such approval in the tenant.
create function approve(
    p_tenant text, p_approval bigint, p_digest text, p_actor jsonb, p_reason text, p_send int
) returns jsonb language plpgsql security definer set search_path = public, pg_temp as $$
declare
    e executions; a approvals; v_why text; v_ids bigint[];
begin
    select x.* into e from executions x
    where x.id = (select execution_id from approvals where id = p_approval and tenant = p_tenant)
    for update;
    if not found then return null; end if;
    select * into a from approvals where id = p_approval for update;
    v_why := refuse_approval(a, e, p_digest, p_actor, p_reason);
    if v_why is not null then
        return jsonb_build_object('accepted', false, 'why', v_why, 'decision', a.decision,
                                  'execution_id', e.id, 'state', e.state,
                                  'needed', to_jsonb(lacking_groups(a)));
    end if;
    update approvals set given = given || jsonb_build_array(
        p_actor || jsonb_build_object('at', clock_timestamp(), 'reason', p_reason))
    where id = a.id returning * into a;
    if cardinality(lacking_groups(a)) > 0 then
        perform tell(a.tenant, e.id, a.step_id, 'approval.given', p_actor ->> 'name',
                     jsonb_build_object('approval_id', a.id, 'reason', p_reason,
                                        'from', p_actor -> 'from'));
        return jsonb_build_object('accepted', true, 'decision', null,
                                  'execution_id', e.id, 'state', e.state);
    end if;
    perform note_decision(a, 'approved', p_actor, p_reason);
    with freed as (
        update steps set state = 'pending' where approval_id = a.id and state = 'waiting'
        returning id
    )
    select array_agg(id) into v_ids from freed;
    e.waiting := e.waiting - coalesce(cardinality(v_ids), 0);
    e.stage_open := e.stage_open - coalesce(cardinality(v_ids), 0);
    e := keep(advance(open_rows(e, coalesce(v_ids, '{}'), p_send), p_send));
    return send_next(e, null, 0, p_send) || jsonb_build_object(
        'accepted', true, 'decision', 'approved', 'execution_id', e.id, 'state', e.state);
end $$;

-- No yes: what waits is cancelled. Where nothing had begun the whole execution is; otherwise the
-- plan goes on as if the step had failed.
create function decline(e executions, a approvals, p_actor text, p_summary text) returns executions
language plpgsql as $$
declare
    s steps; v_rows int;
begin
    if a.step_id is null then
        e.cancel_below := e.stages;
        e.cancel_requested_at := clock_timestamp();
        e.cancelled_by := p_actor;
        e.cancel_reason := p_summary;
        return close_unstarted(e, 0, e.stages, 'cancelled', '{pending,waiting}', p_summary,
                               null, null, 'not_approved');
    end if;
    select * into s from steps where approval_id = a.id and state = 'waiting' limit 1;
    with closed as (
        update steps set state = 'cancelled', reason = 'not_approved',
            finished_at = clock_timestamp(), result = jsonb_build_object('summary', p_summary)
        where approval_id = a.id and state = 'waiting' returning *
    ), told as (
        insert into events (tenant, execution_id, step_id, kind, actor, data)
        select c.tenant, c.execution_id, c.id, 'step.cancelled', p_actor,
               step_facts(c) || jsonb_build_object('summary', p_summary)
        from closed c
    )
    select count(*) into v_rows from closed;
    e.waiting := e.waiting - v_rows;
    e.stage_open := e.stage_open - v_rows;
    e.cancelled := e.cancelled + v_rows;
    if s.block is not null then return give_up(e, s, p_summary); end if;
    if v_rows > 0 then return end_main(e, s); end if;
    return e;
end $$;

-- A no (rejected), or no answer in time (expired). Null: there is no such approval.
create function end_approval(
    p_tenant text, p_approval bigint, p_decision text, p_actor jsonb, p_reason text, p_send int
) returns jsonb language plpgsql security definer set search_path = public, pg_temp as $$
declare
    e executions; a approvals;
begin
    select x.* into e from executions x
    where x.id = (select execution_id from approvals where id = p_approval and tenant = p_tenant)
    for update;
    if not found then return null; end if;
    select * into a from approvals where id = p_approval for update;
    if a.decision is not null
       or (p_decision = 'expired' and a.expires_at > clock_timestamp()) then
        return jsonb_build_object('accepted', false, 'why', 'decided', 'decision', a.decision,
                                  'execution_id', e.id, 'state', e.state);
    end if;
    perform note_decision(a, p_decision, p_actor, p_reason);
    e := decline(e, a, p_actor ->> 'name', 'not approved: ' || p_reason);
    e := keep(advance(e, p_send));
    return send_next(e, null, 0, p_send) || jsonb_build_object(
        'accepted', true, 'decision', p_decision, 'execution_id', e.id, 'state', e.state);
end $$;

-- The dispatcher's sweep: nobody said anything in time.
create function expire_approvals(p_limit int) returns int
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    a approvals; v_count int := 0; v_answer jsonb;
begin
    for a in select * from approvals
             where decision is null and expires_at <= clock_timestamp()
             order by execution_id, id limit p_limit loop
        v_answer := end_approval(a.tenant, a.id, 'expired', null, 'nobody answered in time', 0);
        if (v_answer ->> 'accepted')::boolean then v_count := v_count + 1; end if;
    end loop;
    return v_count;
end $$;
