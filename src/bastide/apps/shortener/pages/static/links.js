// All links of a key: counts as they come, many changed at once, older ones added below, export.

const EVERY_MS = 2000
const AT_ONCE = 100 // links in one request of the API

const CHANGES = {
  enable: () => ({ change: { disabled: false }, told: "switched on" }),
  disable: () => ({ change: { disabled: true }, told: "switched off" }),
  tag: (tag) => ({ change: { add_tags: [tag] }, told: `tagged ${tag}`, needsTag: true }),
  untag: (tag) => ({ change: { remove_tags: [tag] }, told: `without the tag ${tag}`, needsTag: true }),
  end: (_, days) => ({ change: { expires_days: Number(days) }, told: "given a new end" }),
}

export function start(section, page) {
  const part = document.getElementById("part")
  const { linksKey: key, tag } = section.dataset
  const bulk = section.querySelector(".bulk")
  const all = section.querySelector("[data-pick-all]")
  const told = part.querySelector("[data-told]")
  const filter = part.querySelector("#filter")

  const boxes = () => [...section.querySelectorAll("tbody .pick input")]
  const chosen = () => boxes().filter((box) => box.checked).map((box) => box.value)

  if (remembered) recall()

  function recall() {
    const { codes, text, wrong } = remembered
    remembered = null
    for (const box of boxes()) box.checked = codes.includes(box.value)
    if (text) say(text, wrong)
    countChosen()
  }

  function say(text, wrong = []) {
    told.className = wrong.length ? "notice late" : "notice"
    told.textContent = [text, ...wrong].join(" ")
    told.hidden = false
  }

  // Choosing

  function countChosen() {
    if (!bulk) return
    const count = chosen().length
    bulk.hidden = count === 0
    bulk.querySelector("[data-chosen]").textContent = `${count} chosen`
    all.checked = count > 0 && count === boxes().length
    all.indeterminate = count > 0 && count < boxes().length
  }

  section.addEventListener("change", (event) => {
    if (event.target === all) for (const box of boxes()) box.checked = all.checked
    if (event.target.type === "checkbox") countChosen()
  })

  let last = null
  section.addEventListener("click", (event) => {
    const box = event.target.closest("tbody .pick input")
    if (!box) return
    const list = boxes()
    if (event.shiftKey && last) {
      const [from, to] = [list.indexOf(last), list.indexOf(box)].sort((a, b) => a - b)
      for (const one of list.slice(from, to + 1)) one.checked = box.checked
      countChosen()
    }
    last = box
  })

  // Changing many

  bulk?.addEventListener("click", (event) => {
    const does = event.target.closest("[data-does]")?.dataset.does
    if (does === "delete") confirmDelete()
    else if (does) change(does)
  })
  bulk?.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.matches("[data-tag-wanted]")) change("tag")
  })

  function change(does) {
    const input = bulk.querySelector("[data-tag-wanted]")
    const wanted = CHANGES[does](input.value.trim().toLowerCase(), bulk.querySelector("select").value)
    if (wanted.needsTag && !input.value.trim()) {
      input.focus()
      return say("Type a tag first.", [""])
    }
    return edit("PATCH", "api/links", { change: wanted.change }, wanted.told)
  }

  function confirmDelete() {
    const dialog = section.querySelector(".ask")
    const count = chosen().length
    dialog.querySelector("h2").textContent = count === 1 ? `Delete ${chosen()[0]}?` : `Delete ${count} links?`
    dialog.returnValue = ""
    dialog.addEventListener("close", () => dialog.returnValue === "delete" && edit("POST", "api/links/delete", {}, "deleted"), { once: true })
    dialog.showModal()
  }

  async function edit(method, path, more, done) {
    const codes = chosen()
    const told = []
    let wrong = ""
    bulk.setAttribute("aria-busy", "true")
    for (const button of bulk.querySelectorAll("button")) button.disabled = true
    for (let at = 0; at < codes.length && !wrong; at += AT_ONCE) {
      if (at) say(`${at} of ${codes.length} done.`)
      const body = JSON.stringify({ codes: codes.slice(at, at + AT_ONCE), ...more })
      try {
        const reply = await page.ask(path, { key, method, body, headers: { "content-type": "application/json" } })
        if (reply.ok) told.push(...(await reply.json()).links)
        else wrong = await page.reasonOf(reply)
      } catch {
        wrong = "The town does not answer; what you see below is how things stood before."
      }
    }
    const refused = told.filter((one) => one.outcome === "refused")
    const count = told.length - refused.length
    const reasons = [...(wrong ? [wrong] : []), ...refused.slice(0, 10).map((one) => `${one.short_code}: ${one.reason}.`)]
    remembered = { codes, text: `${count === 1 ? "1 link is" : `${count} links are`} ${done}.`, wrong: reasons }
    if (!told.length || !(await renew())) {
      const { text, wrong: why } = remembered
      remembered = null
      say(told.length ? text : "Nothing was changed.", why)
      bulk.removeAttribute("aria-busy")
      for (const button of bulk.querySelectorAll("button")) button.disabled = false
    }
  }

  /** The list as it is now, as long as it was. */
  function renew() {
    const limit = document.createElement("input")
    Object.assign(limit, { type: "hidden", name: "limit", value: boxes().length })
    filter.append(limit)
    return page.send(filter)
  }

  // One tag, older links, export, another key

  part.querySelector("[data-sends]")?.addEventListener("change", (event) => {
    const address = page.address("links")
    if (event.target.value) address.searchParams.set("tag", event.target.value)
    history.replaceState(null, "", address)
    page.send(filter)
  })

  part.addEventListener("submit", async (event) => {
    const form = event.target
    if (form.dataset.adds !== undefined) {
      event.preventDefault()
      add(form)
    }
    if (form.dataset.otherKey !== undefined) {
      event.preventDefault()
      page.key = form.querySelector("input").value
      location.assign(page.address("links"))
    }
  })

  async function add(form) {
    const button = form.querySelector("button")
    button.disabled = true
    try {
      const headers = { accept: "text/html" }
      const reply = await fetch(form.action, { method: "POST", headers, body: new URLSearchParams(new FormData(form)), signal: page.left })
      const older = new DOMParser().parseFromString(await reply.text(), "text/html")
      const rows = [...older.querySelectorAll("table.links tbody tr")]
      if (!reply.ok) throw new Error(reply.status)
      section.querySelector("tbody").append(...rows)
      const next = older.querySelector("[data-adds] [name=cursor]")?.value
      if (next) form.querySelector("[name=cursor]").value = next
      else form.remove()
      rows[0]?.querySelector("a")?.focus()
      countChosen()
    } catch {
      page.tell("Older links could not be read.", "Try again in a moment.")
    } finally {
      button.disabled = false
    }
  }

  part.querySelector("[data-export]").addEventListener("click", async (event) => {
    const button = event.currentTarget
    button.disabled = true
    try {
      const reply = await page.ask("api/links/export.csv", { key })
      if (!reply.ok) throw new Error(reply.status)
      const file = document.createElement("a")
      file.href = URL.createObjectURL(await reply.blob())
      file.download = "links.csv"
      file.click()
      URL.revokeObjectURL(file.href)
    } catch {
      page.tell("The links could not be exported.", "Nothing was changed; try again in a moment.")
    } finally {
      button.disabled = false
    }
  })

  count()

  async function count() {
    while (!page.left.aborted && section.isConnected) {
      await new Promise((done) => setTimeout(done, EVERY_MS))
      if (document.hidden || page.left.aborted) continue
      const asked = new URLSearchParams({ limit: Math.min(Math.max(boxes().length, 1), 100), tag })
      const reply = await page.ask(`api/links?${asked}`, { key }).catch(() => null)
      if (!reply?.ok) continue
      for (const link of (await reply.json()).items) {
        const cell = section.querySelector(`[data-code="${link.short_code}"] [data-clicks]`)
        if (cell) cell.textContent = page.clicks(link.total_clicks)
      }
    }
  }
}

// What is chosen, and what is to be told, in the list that takes the place of this one.
let remembered = null
