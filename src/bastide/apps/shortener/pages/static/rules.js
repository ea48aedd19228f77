// The editor of rules. What it makes are the lines of the field that it stands for, which is what is
// sent; text that it can't read stays text.

const TOKENS = { language: "de or pt-BR", country: "FI" }
const TITLES = { device: "Device", system: "System", browser: "Browser", country: "Country", language: "Language", query: "Parameter", from: "From", until: "Until" }

export function start(place, page) {
  const area = place.querySelector("textarea")
  const words = JSON.parse(place.dataset.words)
  const countries = Object.fromEntries([...place.querySelectorAll("datalist option")].map((one) => [one.value, one.textContent]))
  let rules = read(area.value)
  if (!rules) return

  const editor = make("div", { className: "rules" })
  const label = place.querySelector("label")
  const heading = make("p")
  heading.append(make("b", { id: "rules-label", textContent: "Rules", className: "small" }), make("span", { className: "soft small", textContent: " (optional): where else it leads, by who follows it. The first rule that fits is taken." }))
  editor.setAttribute("role", "group")
  editor.setAttribute("aria-labelledby", "rules-label")
  const asText = make("button", { type: "button", className: "button quiet small", textContent: "Write them as text" })
  asText.addEventListener("click", () => show(false))
  const asRules = make("button", { type: "button", className: "button quiet small", textContent: "Use the editor" })
  asRules.addEventListener("click", () => {
    const found = read(area.value)
    if (!found) return page.tell("The rules can't be shown in the editor.", "A line has its conditions, then -> and an address.")
    rules = found
    show(true)
  })
  area.after(asRules)
  place.prepend(heading, editor)
  const hint = place.querySelector("#rules-hint")
  show(true)

  function show(edited) {
    for (const one of [area, label, hint, asRules]) one.hidden = edited
    heading.hidden = editor.hidden = !edited
    if (edited) draw()
    else area.focus()
  }

  function keep() {
    area.value = rules.map(lineOf).filter(Boolean).join("\n")
    area.dispatchEvent(new Event("input", { bubbles: true }))
  }

  /** `focus`: a selector of what is to have the focus afterwards. */
  function draw(focus = "") {
    keep()
    const add = make("button", { type: "button", className: "button quiet small", textContent: rules.length ? "Add another rule" : "Add a rule" })
    add.dataset.add = ""
    add.addEventListener("click", () => {
      rules.push({ conditions: [{ kind: "device", values: [] }], target: "" })
      draw(`.rule:nth-of-type(${rules.length}) select`)
    })
    const row = make("p", { className: "acts" })
    row.append(add, ...(rules.length ? [asText] : []))
    editor.replaceChildren(...rules.map(ruleBox), row)
    if (focus) (editor.querySelector(focus) ?? add).focus()
  }

  function ruleBox(rule, at) {
    const box = make("fieldset", { className: "rule" })
    const bar = make("div", { className: "acts" })
    const move = (by) => {
      rules.splice(at, 1)
      rules.splice(at + by, 0, rule)
      draw(`.rule:nth-of-type(${at + by + 1}) [data-move="${by}"]:not([disabled])`)
    }
    const more = small("And", () => {
      const used = rule.conditions.map((one) => one.kind)
      rule.conditions.push({ kind: Object.keys(TITLES).find((kind) => !used.includes(kind)), values: [] })
      draw(`.rule:nth-of-type(${at + 1}) .condition:nth-of-type(${rule.conditions.length}) select`)
    })
    more.disabled = rule.conditions.length === Object.keys(TITLES).length
    const up = small("Up", () => move(-1))
    const down = small("Down", () => move(1))
    Object.assign(up.dataset, { move: -1 })
    Object.assign(down.dataset, { move: 1 })
    up.disabled = at === 0
    down.disabled = at === rules.length - 1
    const remove = small("Remove", () => {
      rules.splice(at, 1)
      draw(`.rule:nth-of-type(${Math.min(at + 1, rules.length)}) select`)
    })
    for (const [button, name] of [[up, "up"], [down, "down"]]) button.setAttribute("aria-label", `Move rule ${at + 1} ${name}`)
    remove.setAttribute("aria-label", `Remove rule ${at + 1}`)
    more.setAttribute("aria-label", `Add a condition to rule ${at + 1}`)
    bar.append(more, up, down, remove)
    box.append(make("legend", { textContent: `Rule ${at + 1}` }), ...rule.conditions.map((one, n) => conditionBox(rule, one, at, n)), targetBox(rule, at), bar)
    return box
  }

  function conditionBox(rule, condition, at, n) {
    const box = make("div", { className: "condition" })
    const select = make("select", { ariaLabel: `Condition ${n + 1} of rule ${at + 1}` })
    const taken = rule.conditions.map((one) => one.kind)
    for (const [kind, title] of Object.entries(TITLES)) {
      if (kind === condition.kind || !taken.includes(kind)) select.append(make("option", { value: kind, textContent: title, selected: kind === condition.kind }))
    }
    select.addEventListener("change", () => {
      Object.assign(condition, { kind: select.value, values: [] })
      draw(`.rule:nth-of-type(${at + 1}) .condition:nth-of-type(${n + 1}) select`)
    })
    const remove = make("button", { type: "button", textContent: "×", ariaLabel: `Remove condition ${n + 1} of rule ${at + 1}` })
    remove.disabled = rule.conditions.length === 1
    remove.addEventListener("click", () => {
      rule.conditions.splice(n, 1)
      draw(`.rule:nth-of-type(${at + 1}) select`)
    })
    box.append(select, valuesOf(condition, at), remove)
    return box
  }

  function valuesOf(condition, at) {
    const box = make("div", { className: "values" })
    box.setAttribute("role", "group")
    box.ariaLabel = `${TITLES[condition.kind]}, rule ${at + 1}`
    if (words[condition.kind]) choices(box, condition)
    else if (TOKENS[condition.kind]) tokens(box, condition)
    else if (condition.kind === "query") parameter(box, condition)
    else instant(box, condition)
    return box
  }

  function choices(box, condition) {
    for (const [value, title] of Object.entries(words[condition.kind])) {
      const label = make("label")
      const input = make("input", { type: "checkbox", checked: condition.values.includes(value) })
      input.addEventListener("change", () => {
        condition.values = condition.values.filter((one) => one !== value)
        if (input.checked) condition.values.push(value)
        keep()
      })
      label.append(input, title)
      box.append(label)
    }
  }

  function tokens(box, condition) {
    const isCountry = condition.kind === "country"
    const input = make("input", { type: "text", placeholder: TOKENS[condition.kind], ariaLabel: `${TITLES[condition.kind]} to add`, autocomplete: "off", spellcheck: false })
    if (isCountry) input.setAttribute("list", "rule-countries")
    const take = () => {
      const given = input.value.split(/[\s,;]+/).filter(Boolean)
      const named = Object.keys(countries).find((code) => countries[code].toLowerCase() === input.value.trim().toLowerCase())
      const found = isCountry && named ? [named] : given.map((one) => (isCountry ? one.toUpperCase() : one))
      condition.values = [...new Set([...condition.values, ...found])]
      input.value = ""
      chips()
    }
    const chips = () => {
      for (const chip of box.querySelectorAll(".chip")) chip.remove()
      input.before(...condition.values.map((value) => chipOf(value)))
      keep()
    }
    const chipOf = (value) => {
      const chip = make("span", { className: "chip", textContent: (isCountry && countries[value]) || value })
      const remove = make("button", { type: "button", textContent: "×", ariaLabel: `Remove ${value}` })
      remove.addEventListener("click", () => {
        condition.values = condition.values.filter((one) => one !== value)
        chips()
        input.focus()
      })
      chip.append(remove)
      return chip
    }
    input.addEventListener("change", take)
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return
      event.preventDefault()
      take()
    })
    input.addEventListener("input", () => isCountry && countries[input.value] && take())
    box.append(input)
    chips()
  }

  function parameter(box, condition) {
    const [first = "", ...others] = condition.values
    const at = first.indexOf("=")
    const [name, value] = at < 0 ? [first, ""] : [first.slice(0, at), first.slice(at + 1)]
    const inputs = [
      make("input", { type: "text", value: decodeURIComponent(name), placeholder: "name", ariaLabel: "Name of the parameter", maxLength: 100, autocomplete: "off", spellcheck: false }),
      make("input", { type: "text", value: decodeURIComponent(value), placeholder: "any value", ariaLabel: "Its value, or nothing for any", maxLength: 100, autocomplete: "off", spellcheck: false }),
    ]
    const take = () => {
      const [called, is] = inputs.map((one) => encodeURIComponent(one.value.trim()))
      condition.values = called ? [`${called}=${is}`, ...others] : others
      keep()
    }
    for (const input of inputs) input.addEventListener("input", take)
    box.append(...inputs)
    if (others.length) box.append(make("span", { className: "soft small", textContent: `and ${others.map(decodeURIComponent).join(", ")}` }))
  }

  function instant(box, condition) {
    const at = condition.values.length ? new Date(condition.values.join(" ")) : null
    const input = make("input", { type: "datetime-local", value: at ? page.localTime(at) : "", ariaLabel: condition.kind === "from" ? "First moment" : "End, exclusive" })
    input.addEventListener("input", () => {
      condition.values = input.value ? [new Date(input.value).toISOString().replace(".000Z", "Z")] : []
      keep()
    })
    box.append(input)
  }

  function targetBox(rule, at) {
    const box = make("div", { className: "leads" })
    const input = make("input", { type: "text", inputMode: "url", value: rule.target, maxLength: 2048, placeholder: "https://example.com/app", autocomplete: "off", autocapitalize: "off", spellcheck: false })
    input.ariaLabel = `Address of rule ${at + 1}`
    input.addEventListener("input", () => {
      rule.target = input.value.trim()
      keep()
    })
    box.append(make("span", { className: "small", textContent: "leads to" }), input)
    return box
  }
}

/** Lines as rules; null if one is none. */
function read(text) {
  const rules = []
  for (const line of text.split("\n").map((one) => one.trim()).filter(Boolean)) {
    const arrow = line.indexOf("->")
    if (arrow < 0) return null
    const conditions = []
    for (const condition of line.slice(0, arrow).split(",").map((one) => one.trim()).filter(Boolean)) {
      const [kind, ...values] = condition.split(/\s+/)
      if (!TITLES[kind] || conditions.some((one) => one.kind === kind)) return null
      if ((kind === "from" || kind === "until") && values.length && Number.isNaN(Date.parse(values.join(" ")))) return null
      conditions.push({ kind, values })
    }
    if (!conditions.length) conditions.push({ kind: "device", values: [] })
    rules.push({ conditions, target: line.slice(arrow + 2).trim() })
  }
  return rules
}

/** "" for a rule that nothing was written in yet. */
function lineOf(rule) {
  const conditions = rule.conditions.filter((one) => one.values.length).map((one) => `${one.kind} ${one.values.join(" ")}`)
  return conditions.length || rule.target ? `${conditions.join(", ")} -> ${rule.target}` : ""
}

function small(text, does) {
  const made = make("button", { type: "button", className: "button quiet small", textContent: text })
  made.addEventListener("click", does)
  return made
}

function make(name, properties = {}) {
  return Object.assign(document.createElement(name), properties)
}
