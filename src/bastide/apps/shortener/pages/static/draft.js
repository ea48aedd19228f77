// What will be made, said while it is typed.

const CODE = /^[A-Za-z0-9_-]{3,32}$/

export function start(form, page) {
  const draft = form.querySelector(".draft")
  if (!draft) return
  const { base } = form.dataset
  const field = (name) => form.elements[name]

  function show() {
    const address = field("original_url").value.trim()
    draft.hidden = !address && !field("custom_code").value
    const parts = [strong(base + (field("custom_code").value || "…")), ` leads to ${shortened(address)}`]
    const rules = field("rules").value.split("\n").filter((line) => line.trim()).length
    if (rules) parts.push(rules === 1 ? ", unless its rule says otherwise" : `, unless one of its ${rules} rules says otherwise`)
    parts.push(`; it ends ${end()}`)
    const visits = Number(field("visits").value)
    if (visits) parts.push(visits === 1 ? ", or after one visit" : `, or after ${visits.toLocaleString("en")} visits`)
    draft.replaceChildren(...parts, ". ", ...complaints(address))
  }

  function end() {
    const at = field("expires_at").value
    if (at) return new Date(at).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" })
    const choice = field("expires_days")
    return choice.options[choice.selectedIndex].text
  }

  function complaints(address) {
    const code = field("custom_code").value
    const found = []
    if (address && !isAddress(address)) found.push(error("That is no address yet. "))
    if (code && !CODE.test(code)) found.push(error("A code has 3 to 32 letters, digits, _ or -."))
    else if (code) found.push("The code has the right form; whether it is free is known when you send it.")
    return found
  }

  form.addEventListener("input", show)
  form.addEventListener("change", show)
  show()
}

function isAddress(text) {
  const bare = !text.split("/")[0].includes(":") || /^[^/?#:@]*\.[^/?#:@]*:[0-9]+(?![^/?#])/.test(text)
  const whole = bare ? `https://${text}` : text
  return /^https?:/i.test(whole) && URL.canParse(whole) && !/\s/.test(text)
}

function shortened(address) {
  const bare = address.replace(/^https?:\/\//i, "")
  return bare ? (bare.length > 60 ? `${bare.slice(0, 59)}…` : bare) : "…"
}

function strong(text) {
  const made = document.createElement("b")
  made.textContent = text
  return made
}

function error(text) {
  const made = document.createElement("span")
  made.className = "error"
  made.textContent = text
  return made
}
