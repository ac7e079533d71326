-- Rows of the open stage behind row `p_after` that were never published, oldest first; marks them.
create function mark_sent(e executions, p_after bigint, p_send int) returns bigint[]
language sql as $$
    with chosen as (
        select id from steps
        where execution_id = e.id and stage = e.stage and id > p_after
          and state = 'queued' and sent_at is null
          and blocked_by is null  -- the dispatcher looks whether its mutex is free,
          and caps is null        -- and whether its limits have room
          and (not_before is null or not_before <= clock_timestamp())
        order by id limit p_send for update
    ), sent as (
        update steps s set sent_at = clock_timestamp(), sends = sends + 1
        from chosen where s.id = chosen.id returning s.id
    )
    select array_agg(id order by id) from sent
$$;

-- What the caller should publish now, marked as sent. `link`: the row that Celery itself will
-- publish next. `run`: rows to publish; as one chain when `chain` (the rows behind the first are
-- still pending and are claimed only once they were promoted). `p_after`: the row of the open stage
-- that made room; those before it were looked at, or are the dispatcher's.
create function send_next(e executions, p_link bigint, p_after bigint, p_send int) returns jsonb
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
        v_ids := mark_sent(e, p_after, p_send);
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
    for r in select id, linkable and state = 'pending' as rides from steps
             where execution_id = p_execution and stage > p_stage and stage <= p_stage + 9
             order by stage, id loop
        exit when not r.rides;
        v_ids := v_ids || r.id;
    end loop;
    return v_ids;
end $$;

-- Messages that were not delivered, or that a stopping worker will not serve. A row that somebody
-- else has in hand is not waited for: holding some rows and waiting for others would be a circle
-- with whoever cancels them. If it stays queued it is published again in its time.
create function unsend_steps(p_steps bigint[]) returns int
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    v_rows int;
begin
    update steps set sent_at = null, sends = sends - 1
    where id in (
        select id from steps where id = any (p_steps) and state = 'queued' and sent_at is not null
        for update skip locked);
    get diagnostics v_rows = row_count;
    perform pg_notify('opsfarm_dispatch', 'unsent');
    return v_rows;
end $$;

-- A queue was emptied: what was published to it and not claimed is published again. As above.
create function unsend_queue(p_queue text) returns int
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    v_rows int;
begin
    update steps set sent_at = null
    where id in (
        select id from steps
        where queue = p_queue and state = 'queued' and sent_at is not null and may_touch(domain)
        for update skip locked);
    get diagnostics v_rows = row_count;
    perform pg_notify('opsfarm_dispatch', 'unsent');
    return v_rows;
end $$;

-- The queues that have rows waiting, without a look at each of the rows.
create function queued_queues() returns setof text
language sql stable security definer set search_path = public, pg_temp as $$
    with recursive plain as (
        (select i.queue from steps i
         where i.state = 'queued' and (i.caps is null or i.sent_at is not null)
         order by i.queue limit 1)
        union all
        select (select i.queue from steps i
                where i.state = 'queued' and (i.caps is null or i.sent_at is not null)
                  and i.queue > p.queue order by i.queue limit 1)
        from plain p where p.queue is not null
    ), capped as (
        (select i.queue from steps i
         where i.state = 'queued' and i.sent_at is null and i.cap_group is not null
         order by i.queue limit 1)
        union all
        select (select i.queue from steps i
                where i.state = 'queued' and i.sent_at is null and i.cap_group is not null
                  and i.queue > c.queue order by i.queue limit 1)
        from capped c where c.queue is not null
    )
    select queue from plain where queue is not null
    union
    select queue from capped where queue is not null
$$;

-- Whether nobody holds a mutex, and no other row that wants it is published.
create function is_free(p_step bigint, p_tenant text, p_mutex text) returns boolean
language sql stable as $$
    select p_mutex is null or not exists (
        select from steps o where o.tenant = p_tenant and o.mutex = p_mutex
            and o.state in ('running', 'interrupted')
    ) and not exists (
        select from steps o where o.tenant = p_tenant and o.mutex = p_mutex and o.id <> p_step
            and o.state = 'queued' and o.sent_at is not null)
$$;

-- The dispatcher's outbox: rows of one queue to publish now, oldest first, fair between
-- principals, marked as sent; of those that want one mutex, one. `p_resend_s` null: nothing was
-- lost, only unsent rows.
create function take_unsent(p_queue text, p_limit int, p_resend_s float) returns jsonb
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    v_capped bigint[] := choose_capped(p_queue, p_limit); v_run jsonb;
begin
    with held as materialized (
        select o.tenant, o.mutex from steps o
        where o.mutex is not null and o.state in ('running', 'interrupted')
    ), wanted as materialized (
        select o.id, o.tenant, o.mutex from steps o
        where o.state = 'queued' and o.sent_at is not null and o.mutex is not null
          -- Of rows whose messages were all lost none stands in another's way: one goes first.
          and (p_resend_s is null
               or o.sent_at >= clock_timestamp() - make_interval(secs => p_resend_s))
    ), plain as (
        select c.id, c.rank, c.tenant, c.mutex from principals p cross join lateral (
            select s.*, row_number() over (order by s.queued_at) as rank from (
                select i.id, i.queued_at, i.tenant, i.mutex from steps i
                where i.queue = p_queue and i.principal_id = p.id and i.state = 'queued'
                  and (i.caps is null or i.sent_at is not null)
                  and (i.sent_at is null
                       or i.sent_at < clock_timestamp() - make_interval(secs => p_resend_s))
                  and (i.not_before is null or i.not_before <= clock_timestamp())
                  and (i.mutex is null or not exists (
                       select 1 from held h where h.tenant = i.tenant and h.mutex = i.mutex))
                  and (i.mutex is null or not exists (
                       select 1 from wanted w where w.tenant = i.tenant and w.mutex = i.mutex
                         and w.id <> i.id))
                order by i.queued_at limit p_limit
            ) s
        ) c
    ), ranked as (
        select p.id, p.rank, p.tenant, p.mutex from plain p
        union all
        select c.id, c.place, s.tenant, s.mutex
        from unnest(v_capped) with ordinality as c (id, place) join steps s on s.id = c.id
    ), chosen as (
        select r.id from (
            select n.id, n.rank, n.mutex,
                   row_number() over (partition by n.tenant, n.mutex order by n.rank, n.id) as turn
            from ranked n
        ) r where r.mutex is null or r.turn = 1
        order by r.rank, r.id limit p_limit
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
    r record; v_count int := 0; v_answer jsonb;
begin
    for r in select s.id, s.queue_timeout_s, s.queue, (
                        select format('step %s of execution %s', h.key, h.execution_id)
                        from steps h where h.tenant = s.tenant and h.mutex = s.mutex
                            and h.state in ('running', 'interrupted')) as blocked_by,
                    case when s.caps is not null and s.sent_at is null
                         then tell_limit(s, held_caps(true)) end as held_back
             from steps s
             where s.state = 'queued'
               and s.queued_at < clock_timestamp() - make_interval(secs => s.queue_timeout_s)
             order by s.execution_id, s.id limit p_limit loop
        v_answer := settle(r.id, null, '{queued}', 'failed', 'queue_timeout', jsonb_build_object(
            'summary', case when r.held_back is not null
                then format('not begun within %s s; %s', r.queue_timeout_s, r.held_back)
            when r.blocked_by is null
                then format('no worker of queue %s took it within %s s', r.queue,
                            r.queue_timeout_s)
                else format('%s held its asset for more than %s s', r.blocked_by,
                            r.queue_timeout_s) end), null, 0);
        if (v_answer ->> 'accepted')::boolean then v_count := v_count + 1; end if;
    end loop;
    return v_count;
end $$;

